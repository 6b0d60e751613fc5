import { serve } from './child.ts'
import { Profiler, readUsage } from './usage.ts'

/** Of a bare server. */
export interface ServerOptions {
  /** The database; made when there is none. */
  readonly filename: string
  /** `scoped`: the token of a client names its user, and limits it to the records of that user. */
  readonly access: 'open' | 'scoped'
  /** `full` also verifies the id of every operation. */
  readonly durability: 'full' | 'normal'
  /** @see BareStoreOptions */
  readonly keepsPromises?: boolean
  readonly isBulk?: boolean
}

export interface PostgresServerOptions {
  readonly connectionString: string
}

export interface RunningServer {
  readonly port: number
}

/** Offers a bare server to the benchmark: start it, ask what it has used, profile it. */
export function serveServer<Options>(start: (options: Options) => Promise<RunningServer>): void {
  serveUsage({ start })
}

/** The same of a process that starts its server by itself. */
export function serveUsage(handlers: Parameters<typeof serve>[0] = {}): void {
  const profiler = new Profiler()
  serve({
    ...handlers,
    usage: (options: { collectGarbage?: boolean }) => readUsage(options),
    startProfile: () => profiler.start(),
    stopProfile: ({ file }: { file: string }) => profiler.stop(file),
  })
}
