import { fork, type ChildProcess as NodeChild } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/*
 * Processes talk over Node's IPC channel: requests with an id, answers with the same id, and events.
 * Nothing goes over it while something is measured, except an event per batch where said.
 */

interface Request {
  readonly id: number
  readonly method: string
  readonly params: unknown
}

type Answer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly event: unknown }

/** The files that run as processes of their own. */
export type ProcessFile =
  | 'kora-server'
  | 'bare-server'
  | 'load'
  | 'readers'
  | 'filler'
  | 'worst-clients'
  | 'postgres-bare-server'
  | 'postgres-filler'

export interface ChildOptions {
  readonly args?: readonly string[]
  /** Further ones of Node itself. */
  readonly nodeArgs?: readonly string[]
  /** It writes its log to stderr: see `findInLog`. */
  readonly hasLog?: boolean
}

const KEPT_LOG_LINES = 50

/** A process that the benchmark has started, and ends. */
export class Child {
  readonly #process: NodeChild
  /** Its newest lines. */
  readonly #log: string[] = []
  #onLogLine: (line: string) => void = () => {}
  readonly #pending = new Map<number, { resolve: (result: unknown) => void; reject: (e: Error) => void }>()
  /** However it ends. */
  readonly exited: Promise<void>
  #isEnding = false
  /** It has ended by itself, or badly. */
  #failure: Error | null = null
  #isFailureTold = false
  #listener: (event: unknown) => void = () => {}
  #requests = 0

  constructor(file: ProcessFile, { args = [], nodeArgs = [], hasLog = false }: ChildOptions = {}) {
    const path = fileURLToPath(new URL(`../processes/${file}.js`, import.meta.url))
    this.#process = fork(path, args, {
      serialization: 'advanced',
      execArgv: ['--expose-gc', ...nodeArgs],
      env: withoutConfiguration(process.env),
      stdio: ['inherit', 'inherit', hasLog ? 'pipe' : 'inherit', 'ipc'],
    })
    this.#process.on('message', (answer) => this.#receive(answer as Answer))
    if (this.#process.stderr !== null) this.#listenToLog(this.#process.stderr)
    this.exited = new Promise((resolve) => {
      this.#process.on('exit', (code, signal) => {
        if (!this.#isEnding || code !== 0) this.#fail(`${file} ended with ${code ?? signal}`)
        resolve()
      })
    })
  }

  /** The first of what `find` makes of its log, from now on. */
  findInLog<Result>(find: (line: string) => Result | null): Promise<Result> {
    const id = ++this.#requests
    return new Promise((resolve, reject) => {
      this.#expectAlive()
      this.#pending.set(id, { resolve: resolve as (result: unknown) => void, reject })
      this.#onLogLine = (line) => {
        const result = find(line)
        if (result !== null) this.#receive({ id, result })
      }
    })
  }

  call<Result>(method: string, params: unknown = {}): Promise<Result> {
    const id = ++this.#requests
    return new Promise((resolve, reject) => {
      this.#send({ id, method, params })
      this.#pending.set(id, { resolve: resolve as (result: unknown) => void, reject })
    })
  }

  /** Sends without waiting for the answer. */
  tell(method: string, params: unknown): void {
    this.#send({ id: 0, method, params })
  }

  onEvent<Event>(listener: (event: Event) => void): void {
    this.#listener = listener as (event: unknown) => void
  }

  /** Fails when it has ended before: what was measured after that was measured without it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true
    if (this.#process.connected) this.#process.disconnect() // ends it: see serve()
    await this.exited
    if (this.#failure !== null && !this.#isFailureTold) throw this.#failure
  }

  #expectAlive(): void {
    if (this.#failure === null) return
    this.#isFailureTold = true
    throw this.#failure
  }

  #send(request: Request): void {
    this.#expectAlive()
    this.#process.send(request, () => {}) // of a process that cannot be reached, its exit tells
  }

  #fail(what: string): void {
    this.#failure = new Error([what, ...this.#log].join('\n'))
    this.#isFailureTold = this.#pending.size > 0
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
  }

  #listenToLog(stream: NodeJS.ReadableStream): void {
    createInterface({ input: stream }).on('line', (line) => {
      this.#log.push(line)
      if (this.#log.length > KEPT_LOG_LINES) this.#log.shift()
      this.#onLogLine(line)
    })
  }

  #receive(answer: Answer): void {
    if ('event' in answer) {
      this.#listener(answer.event)
      return
    }
    const pending = this.#pending.get(answer.id)
    this.#pending.delete(answer.id)
    if ('error' in answer) pending?.reject(new Error(answer.error))
    else pending?.resolve(answer.result)
  }
}

/** What the shell says about a server of its own is not what is measured. */
function withoutConfiguration(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isConfiguration = (name: string): boolean => /^(KORA_|DATABASE_URL$|PORT$)/.test(name)
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isConfiguration(name)))
}

/** The other end: answers requests until the parent disconnects. */
export function serve(handlers: { readonly [method: string]: (params: never) => unknown }): void {
  process.on('message', (message) => void answer(message as Request))
  process.on('disconnect', () => process.exit(0))

  async function answer({ id, method, params }: Request): Promise<void> {
    try {
      const result = await handlers[method]?.(params as never) // each method knows what its caller passes
      if (id !== 0) process.send?.({ id, result } satisfies Answer)
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      process.send?.({ id, error: text } satisfies Answer)
    }
  }
}

export function emit(event: unknown): void {
  process.send?.({ event } satisfies Answer)
}
