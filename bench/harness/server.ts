import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StoreInput } from '../../src/config/define-config.ts'
import type { FillOptions } from '../processes/filler.ts'
import { Child, type ChildOptions } from './child.ts'
import { sharedNow } from './clock.ts'
import { type Database, type Mark, postgresDatabase, sqliteDatabase } from './database.ts'
import { type KoraConfigOptions, writeKoraConfig } from './kora-config.ts'
import type { RunOptions } from './options.ts'
import type { PostgresServerOptions, RunningServer, ServerOptions } from './server-process.ts'
import type { Usage } from './usage.ts'

/** The servers that are compared. The first is ours. */
export const VARIANTS = ['kora', 'limit', 'limit-durable'] as const
/** With what no server can leave out that promises what ours does: how near we are. */
export const VARIANTS_AND_BOUND = [...VARIANTS, 'limit-promises'] as const
/** Ours with `store.durability: 'normal'`: what waiting for the disk takes. */
export const OURS_NORMAL = 'kora-normal'
/** With a limit that writes as ours does. */
export const INGEST_VARIANTS = [...VARIANTS_AND_BOUND, 'limit-bulk'] as const

export interface StartOptions {
  readonly filename: string
  readonly access?: ServerOptions['access']
  /** Of ours: in what its configuration is written. */
  readonly configFormat?: 'json' | 'ts'
  /** Takes a CPU profile of its whole life. */
  readonly profile?: { readonly directory: string; readonly label: string } | undefined
}

/** A server process with what is asked of it in every scenario. */
export class Server {
  readonly url: string
  /** From the start of its process until it listens. */
  readonly startMs: number
  readonly #child: Child
  readonly #database: Database
  #mark: Mark

  private constructor({ child, port, startMs }: Started, database: Database, mark: Mark) {
    this.#child = child
    this.startMs = startMs
    this.#database = database
    this.#mark = mark
    this.url = `ws://127.0.0.1:${port}`
  }

  /**
   * @param variant `kora` (durable, verifying), `kora-normal` (verifying), `limit` (neither), `limit-durable` (both),
   *   `limit-promises` (both, and what else our promises need), `limit-bulk` (neither, but writes as ours does)
   */
  static async start(
    variant: string,
    { filename, access = 'open', configFormat = 'json', profile }: StartOptions,
  ): Promise<Server> {
    const isOurs = variant === 'kora' || variant === OURS_NORMAL
    const durability = variant === OURS_NORMAL ? 'normal' : 'full'
    const database = sqliteDatabase(filename, { isOurs })
    const mark = await database.mark()
    const childOptions = { nodeArgs: profilingArgs(profile) }
    const started = isOurs
      ? await startOurs(
          { store: { driver: 'sqlite', filename, durability }, access },
          `${filename}.${configFormat}`,
          childOptions,
        )
      : await startBare<ServerOptions>('bare-server', bareOptions(variant, filename, access), childOptions)
    return new Server(started, database, mark)
  }

  /** @param variant `kora` or `limit` */
  static async startOnPostgres(
    variant: string,
    options: RunOptions,
    { connectionString }: PostgresServerOptions,
  ): Promise<Server> {
    const isOurs = variant === 'kora'
    const database = postgresDatabase(connectionString, { isOurs })
    const mark = await database.mark()
    const store: StoreInput = { driver: 'postgres', connectionString }
    const started = isOurs
      ? await startOurs({ store, access: 'open' }, `${newDatabase(options)}.json`)
      : await startBare<PostgresServerOptions>('postgres-bare-server', { connectionString })
    return new Server(started, database, mark)
  }

  usage(collectGarbage = false): Promise<Usage> {
    return this.#child.call('usage', { collectGarbage })
  }

  /**
   * Looks into the database, beside the server: what was added since the start, or since this was asked last,
   * must be so many operations, each once, and so many records.
   */
  async checkAdded(operations: number, { records = operations } = {}): Promise<void> {
    const before = this.#mark
    const stored = await this.#database.storedAfter(before.position)
    this.#mark = await this.#database.mark()
    const added = stored.records - before.records
    if (stored.operations === operations && stored.different === operations && added === records) return
    throw new Error(
      `Its database has ${stored.operations} more operations (${stored.different} different ones) and ${added} more ` +
        `records, where ${operations} and ${records} were acknowledged`,
    )
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

type Started = RunningServer & { readonly child: Child; readonly startMs: number }

/** As a user does: `kora-server start` with a configuration file, until its log says that it serves. */
async function startOurs(
  config: KoraConfigOptions,
  configFile: string,
  childOptions: ChildOptions = {},
): Promise<Started> {
  writeKoraConfig(configFile, config)
  const args = ['start', '--config', configFile]
  const startedAt = sharedNow()
  const child = new Child('kora-server', { ...childOptions, args, hasLog: true })
  const url = await child.findInLog(servedUrl)
  return { child, port: Number(new URL(url).port), startMs: sharedNow() - startedAt }
}

function servedUrl(line: string): string | null {
  if (!line.includes('"server started"')) return null
  return (JSON.parse(line) as { url: string }).url
}

async function startBare<Options>(
  file: 'bare-server' | 'postgres-bare-server',
  options: Options,
  childOptions: ChildOptions = {},
): Promise<Started> {
  const startedAt = sharedNow()
  const child = new Child(file, childOptions)
  const { port } = await child.call<RunningServer>('start', options)
  return { child, port, startMs: sharedNow() - startedAt }
}

function bareOptions(variant: string, filename: string, access: ServerOptions['access']): ServerOptions {
  return {
    filename,
    access,
    durability: variant === 'limit' || variant === 'limit-bulk' ? 'normal' : 'full',
    keepsPromises: variant === 'limit-promises',
    isBulk: variant === 'limit-bulk',
  }
}

/** Written when the process ends. */
function profilingArgs(profile: StartOptions['profile']): readonly string[] {
  if (profile === undefined) return []
  const { directory, label } = profile
  return ['--cpu-prof', `--cpu-prof-dir=${directory}`, `--cpu-prof-name=${label}.cpuprofile`]
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
