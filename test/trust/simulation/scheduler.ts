import type { Runtime, Timer } from '../../../src/core/runtime.ts'
import { Random } from './random.ts'

/** Who set a task: all of them end with it, as a process takes its timers with it. */
export class TaskOwner {
  readonly name: string
  isDead = false
  pending = 0

  constructor(name: string) {
    this.name = name
  }
}

interface Task {
  readonly at: number
  /** Decides between tasks of one instant. */
  readonly order: number
  readonly owner: TaskOwner
  readonly callback: () => void
  isCancelled: boolean
}

/** ms since the epoch at which every simulation starts. */
export const STARTED_AT = 1_750_000_000_000

/**
 * The only source of time and of the order of events. One task runs at a time, and everything that
 * it has made ready (promises, and what they start in turn) before the next one.
 */
export class Scheduler {
  readonly #random: Random
  readonly #tasks: Task[] = []
  #now = STARTED_AT
  #uuids = 0
  /** A number that two runs share only when they ran the same events in the same order. */
  fingerprint = 0
  events = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  /** ms since the epoch, with fractions. */
  get now(): number {
    return this.#now
  }

  schedule(delayMs: number, owner: TaskOwner, callback: () => void): Timer {
    if (owner.isDead) return { cancel: () => {} }
    const task = {
      at: this.#now + Math.max(0, delayMs),
      order: this.#random.next(),
      owner,
      callback,
      isCancelled: false,
    }
    owner.pending++
    this.#push(task)
    return {
      cancel: () => {
        if (task.isCancelled) return
        task.isCancelled = true
        owner.pending--
      },
    }
  }

  /** Runs what falls due within the next `ms`. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    await drainPromises()
    for (;;) {
      const task = this.#tasks[0]
      if (task === undefined || task.at > until) break
      this.#pop()
      if (task.isCancelled) continue
      task.isCancelled = true
      task.owner.pending--
      if (task.owner.isDead) continue
      this.#now = task.at
      this.events++
      this.note(Math.round((task.at - STARTED_AT) * 1000))
      task.callback()
      await drainPromises()
    }
    this.#now = until
  }

  /** Mixes a number into the fingerprint. */
  note(value: number): void {
    this.fingerprint = (Math.imul(this.fingerprint ^ (value | 0), 0x01000193) + 1) | 0
  }

  /** Time and randomness as one owner has them. @param clockMs how far its clock is ahead */
  runtime(owner: TaskOwner, clockMs: () => number = () => 0): Runtime {
    return {
      now: () => Math.floor(this.#now + clockMs()),
      monotonicNow: () => this.#now - STARTED_AT,
      setTimer: (delayMs, callback) => this.schedule(delayMs, owner, callback),
      defer: (callback) => void this.schedule(this.#random.skewed(0, 2), owner, callback),
      uuid: () => this.uuid(),
      token: (byteLength) => this.uuid().slice(-byteLength),
    }
  }

  uuid(): string {
    this.#uuids++
    const random = Math.floor(this.#random.next() * 2 ** 32)
    return `01000000-0000-7000-8000-${(random * 2 ** 14 + this.#uuids).toString(16).padStart(12, '0')}`
  }

  // ── a binary heap by time ──────────────────────────────────────────────────────────────────

  #push(task: Task): void {
    const tasks = this.#tasks
    let index = tasks.length
    tasks.push(task)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(task, tasks[parent] as Task)) break
      tasks[index] = tasks[parent] as Task
      index = parent
    }
    tasks[index] = task
  }

  #pop(): void {
    const tasks = this.#tasks
    const last = tasks.pop() as Task
    if (tasks.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= tasks.length) break
      if (child + 1 < tasks.length && isBefore(tasks[child + 1] as Task, tasks[child] as Task)) child++
      if (!isBefore(tasks[child] as Task, last)) break
      tasks[index] = tasks[child] as Task
      index = child
    }
    tasks[index] = last
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** Promises settle between two turns of the event loop, however many hang on one another. */
function drainPromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
