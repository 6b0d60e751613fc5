import { serve } from './child.ts'
import { Profiler, readUsage } from './usage.ts'

export interface ServerOptions {
  /** The database; made when there is none. */
  readonly filename: string
  /** `scoped`: the token of a client is its user id, which limits it to the records of that user. */
  readonly access: 'open' | 'scoped'
  /** Of the bare server: `full` also verifies the id of every operation. */
  readonly durability: 'full' | 'normal'
  /** Of the bare server. @see BareStoreOptions */
  readonly keepsPromises?: boolean
  readonly isBulk?: boolean
}

export interface PostgresServerOptions {
  readonly connectionString: string
}

export interface RunningServer {
  readonly port: number
}

/** Offers a server to the benchmark: start it, ask what it has used, profile it. */
export function serveServer<Options>(start: (options: Options) => Promise<RunningServer>): void {
  const profiler = new Profiler()
  serve({
    start,
    usage: (options: { collectGarbage?: boolean }) => readUsage(options),
    startProfile: () => profiler.start(),
    stopProfile: ({ file }: { file: string }) => profiler.stop(file),
  })
}
