import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FillOptions } from '../processes/filler.ts'
import { Child, type ProcessFile } from './child.ts'
import type { RunOptions } from './options.ts'
import type { PostgresServerOptions, RunningServer, ServerOptions } from './server-process.ts'
import type { Usage } from './usage.ts'

/** The servers that are compared. The first is ours. */
export const VARIANTS = ['kora', 'limit', 'limit-durable'] as const
/** With what no server can leave out that promises what ours does: how near we are. */
export const VARIANTS_AND_BOUND = [...VARIANTS, 'limit-promises'] as const
/** With a limit that writes as ours does. */
export const INGEST_VARIANTS = [...VARIANTS_AND_BOUND, 'limit-bulk'] as const

/** A server process with what is asked of it in every scenario. */
export class Server {
  readonly url: string
  readonly #child: Child

  private constructor(child: Child, port: number) {
    this.#child = child
    this.url = `ws://127.0.0.1:${port}`
  }

  /**
   * @param variant `kora` (durable, verifying), `limit` (neither), `limit-durable` (both),
   *   `limit-promises` (both, and what else our promises need), `limit-bulk` (neither, but writes as ours does)
   */
  static async start(
    variant: string,
    { filename, access = 'open' }: { filename: string; access?: ServerOptions['access'] },
  ): Promise<Server> {
    const durability = variant === 'limit' || variant === 'limit-bulk' ? 'normal' : 'full'
    return Server.launch(variant === 'kora' ? 'kora-server' : 'bare-server', {
      filename,
      access,
      durability,
      keepsPromises: variant === 'limit-promises',
      isBulk: variant === 'limit-bulk',
    })
  }

  static async launch(file: ProcessFile, options: ServerOptions | PostgresServerOptions): Promise<Server> {
    const child = new Child(file)
    const { port } = await child.call<RunningServer>('start', options)
    return new Server(child, port)
  }

  usage(collectGarbage = false): Promise<Usage> {
    return this.#child.call('usage', { collectGarbage })
  }

  /** Takes a CPU profile while `action` runs, where profiles are wanted. */
  async profiled<Result>(label: string, options: RunOptions, action: () => Promise<Result>): Promise<Result> {
    if (options.profileDirectory === null) return action()
    await this.#child.call('startProfile')
    const result = await action()
    await this.#child.call('stopProfile', { file: join(options.profileDirectory, `${label}.cpuprofile`) })
    return result
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]()
  }
}

let databases = 0

/** A file name that no other run uses. */
export function newDatabase({ directory }: RunOptions): string {
  return join(directory, `${++databases}.db`)
}

const fillings = new Map<string, Promise<void>>()

/** A copy of a database with so many operations; made once per run of the benchmarks. */
export async function filledDatabase(
  variant: string,
  options: RunOptions,
  { operations, rare = 0, users = 50 }: { operations: number; rare?: number; users?: number },
): Promise<string> {
  const kind = variant === 'kora' ? 'kora' : variant === 'limit-promises' ? 'promises' : 'bare'
  const original = join(options.directory, `filled-${kind}-${operations}-${rare}-${users}.db`)
  let filling = fillings.get(original)
  if (filling === undefined) {
    filling = fillDatabase({ variant: kind, filename: original, operations, rare, users })
    fillings.set(original, filling)
  }
  await filling
  const copy = newDatabase(options)
  copyFileSync(original, copy)
  return copy
}

async function fillDatabase(options: FillOptions): Promise<void> {
  await using filler = new Child('filler')
  await filler.call('fill', options)
}
