import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('bystander-process.ts', import.meta.url))
const PAUSE_MS = 20

/**
 * What it does again and again. `write`: a device that stays connected writes and waits for the acknowledgment.
 * `deliver`: one of two devices writes, and the other one waits for what was written.
 * `connect`: a device that was never seen before connects and gets everything. `ask`: the least that a server can be
 * asked for over HTTP, which shows how long its event loop is held.
 */
export type BystanderTask = 'write' | 'deliver' | 'connect' | 'ask'

export interface BystanderOptions {
  /** `ws://…` */
  readonly url: string
  readonly token: string
  /** A wait that is longer ends the process, and with it the test. */
  readonly maxWaitMs: number
  /** Default: `write`. */
  readonly task?: BystanderTask
  /** Between an answer and what it does next. Default: 20. */
  readonly pauseMs?: number
}

export interface Observation {
  /** From each thing it did to the answer. */
  readonly waitsMs: readonly number[]
  /** How often a connection of it has ended without its doing, since its start; null for `ask`, which keeps none. */
  readonly closes: number | null
}

/**
 * A client that is served all the while and measures how long it waits. It lives in a process of its own, because in
 * that of an attacker it would mostly wait for the attacker.
 */
export class Bystander implements AsyncDisposable {
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
  }

  static async start(options: BystanderOptions): Promise<Bystander> {
    const execArgv = ['--import', 'tsx']
    const completed: Required<BystanderOptions> = { task: 'write', pauseMs: PAUSE_MS, ...options }
    const bystander = new Bystander(fork(PROGRAM, [JSON.stringify(completed)], { execArgv }))
    await bystander.#message()
    return bystander
  }

  /** What happened to it while `attack` ran. */
  async during(attack: () => Promise<void>): Promise<Observation> {
    await this.#observe() // ends the round before
    await attack()
    return this.#observe()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return
    this.#process.kill()
    await once(this.#process, 'exit')
  }

  async #observe(): Promise<Observation> {
    this.#process.send('observe')
    return (await this.#message()) as Observation
  }

  async #message(): Promise<unknown> {
    const end = new AbortController()
    const ended = once(this.#process, 'exit', { signal: end.signal }).then(([code]) => {
      throw new Error(`The bystander ended with code ${code}; what it printed is above.`)
    })
    ended.catch(() => {}) // of a wait that is over
    try {
      const [message] = await Promise.race([once(this.#process, 'message', { signal: end.signal }), ended])
      return message
    } finally {
      end.abort()
    }
  }
}
