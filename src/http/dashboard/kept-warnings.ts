import { LOG_EVENTS } from '../../core/log-events.ts'
import type { ShownWarning } from './api-types.ts'

/**
 * Fields that tell which client a warning is about, where it happened, and how many are affected: warnings that
 * differ only in these count as repetitions.
 */
const SUBJECTS = [
  'sessionId',
  'remoteAddress',
  'nodeId',
  'userId',
  'operationId',
  'recordId',
  'hash',
  'acknowledgedSequence',
  'sentSequence',
  'path',
  'sessions',
  'operations',
  'announcements',
  'bodies',
]
/** The warning that gives the reason for ending a session, which quotes what the client sent. */
const QUOTING = LOG_EVENTS.sessionFailed.message

/** Different warnings and errors, a bounded number of them, however many occur and whatever texts they contain. */
export class KeptWarnings {
  readonly #capacity: number
  /** By content, in the order of their last occurrence. */
  readonly #warnings = new Map<string, ShownWarning>()
  readonly #sizeByKind = new Map<string, number>()

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  add(said: Omit<ShownWarning, 'count'>): void {
    const key = keyOf(said)
    const count = (this.#remove(key)?.count ?? 0) + 1
    this.#warnings.set(key, { ...said, count })
    this.#resize(kindOf(said), 1)
    if (this.#warnings.size > this.#capacity) this.#removeOldestOf(this.#largestKind())
  }

  newestFirst(): ShownWarning[] {
    return [...this.#warnings.values()].reverse()
  }

  #remove(key: string): ShownWarning | undefined {
    const warning = this.#warnings.get(key)
    if (warning === undefined) return undefined
    this.#warnings.delete(key)
    this.#resize(kindOf(warning), -1)
    return warning
  }

  #resize(kind: string, difference: number): void {
    const size = (this.#sizeByKind.get(kind) ?? 0) + difference
    if (size === 0) this.#sizeByKind.delete(kind)
    else this.#sizeByKind.set(kind, size)
  }

  #removeOldestOf(kind: string): void {
    for (const [key, warning] of this.#warnings) {
      if (kindOf(warning) === kind) return void this.#remove(key)
    }
  }

  /**
   * The kind to make room from: one that occurs in many forms thus displaces only itself. Warnings go before
   * errors.
   */
  #largestKind(): string {
    let largest = { kind: '', size: 0 }
    for (const [kind, size] of this.#sizeByKind) {
      const isFirst = size > largest.size || (size === largest.size && kind.startsWith('warn'))
      if (isFirst) largest = { kind, size }
    }
    return largest.kind
  }
}

function kindOf({ level, message }: Pick<ShownWarning, 'level' | 'message'>): string {
  return `${level} ${message}`
}

function keyOf({ level, message, fields }: Omit<ShownWarning, 'count'>): string {
  const isSubject = (name: string) => SUBJECTS.includes(name) || (name === 'detail' && message === QUOTING)
  const said = Object.entries(fields).filter(([name]) => !isSubject(name))
  return JSON.stringify([level, message, said])
}
