import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('bystander-process.ts', import.meta.url))
const PAUSE_MS = 20

export interface BystanderOptions {
  readonly url: string
  readonly token: string
  /** A write that waits longer ends the process, and with it the test. */
  readonly maxWaitMs: number
  /** Between an acknowledgment and the next write. Default 20. */
  readonly pauseMs?: number
}

export interface Observation {
  /** From each write to its acknowledgment. */
  readonly waitsMs: readonly number[]
  /** How often its connection has ended since its start. */
  readonly closes: number
}

/**
 * A device that writes all the while and measures how long it waits. It lives in a process of its own, because in that
 * of an attacker it would mostly wait for the attacker.
 */
export class Bystander implements AsyncDisposable {
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
  }

  static async start(options: BystanderOptions): Promise<Bystander> {
    const execArgv = ['--import', 'tsx']
    const bystander = new Bystander(
      fork(PROGRAM, [JSON.stringify({ pauseMs: PAUSE_MS, ...options })], { execArgv }),
    )
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
