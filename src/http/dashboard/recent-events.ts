import { LOG_EVENTS } from '../../core/log-events.ts'
import { childLogger, type LogFields, type Logger } from '../../core/logger.ts'
import { maskSecrets } from '../../core/mask-secrets.ts'
import { REFUSAL_CODES } from '../../core/refusal.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { RefusalsAnswer, ShownRefusal, ShownWarning, WarningsAnswer } from './api-types.ts'
import { KeptWarnings } from './kept-warnings.ts'
import { Ring } from './ring.ts'

/** How many refusals are kept, and how many warnings. With texts of at most `MAX_TEXT`, about a megabyte in all. */
const MAX_KEPT = 500
const MAX_TEXT = 500
/** Codes of refusals with a count of their own; an application's further codes are counted together. */
const MAX_CODES = 100
const OTHER_CODES = 'other codes'
const SECRET_FIELD = /token|secret|password|authorization|key$/i

/**
 * The latest refused operations, warnings and errors. Listens beside the log, whatever its level, and keeps a
 * bounded number of bounded texts.
 */
export class RecentEvents {
  readonly #runtime: Pick<Runtime, 'now'>
  readonly #refusals = new Ring<ShownRefusal>(MAX_KEPT)
  readonly #warnings = new KeptWarnings(MAX_KEPT)
  readonly #refusalsByCode = new Map<string, number>()
  #refusalCount = 0
  #warningCount = 0

  constructor(runtime: Pick<Runtime, 'now'>) {
    this.#runtime = runtime
  }

  get warningCount(): number {
    return this.#warningCount
  }

  /** Wraps a logger: what is logged is also kept here. */
  listenTo(logger: Logger): Logger {
    return new ObservedLogger(logger, this, {})
  }

  refusals(): RefusalsAnswer {
    const byCode = [...this.#refusalsByCode]
      .map(([code, count]) => ({ code, count, remedy: remedyOf(code) }))
      .sort((a, b) => b.count - a.count)
    return { total: this.#refusalCount, byCode, refusals: this.#refusals.oldestFirst().reverse() }
  }

  warnings(): WarningsAnswer {
    return { total: this.#warningCount, warnings: this.#warnings.newestFirst() }
  }

  noteRefusal(fields: LogFields, wasTold: boolean): void {
    const code = textOf(fields.code)
    this.#refusalCount++
    const isCounted = this.#refusalsByCode.has(code) || this.#refusalsByCode.size < MAX_CODES
    const counted = isCounted ? code : OTHER_CODES
    this.#refusalsByCode.set(counted, (this.#refusalsByCode.get(counted) ?? 0) + 1)
    this.#refusals.add({
      at: this.#runtime.now(),
      code,
      detail: textOf(fields.detail),
      operationId: textOf(fields.operationId),
      collection: textOf(fields.collection),
      recordId: textOf(fields.recordId),
      nodeId: textOf(fields.nodeId),
      userId: textOf(fields.userId),
      wasTold,
    })
  }

  noteWarning(level: ShownWarning['level'], message: string, fields: LogFields): void {
    this.#warningCount++
    this.#warnings.add({
      at: this.#runtime.now(),
      level,
      message: textOf(message),
      fields: showFields(fields),
    })
  }
}

/** Returns whatever the wrapped logger returns, so that the caller also sees a rejection. */
class ObservedLogger implements Logger {
  readonly #next: Logger
  readonly #events: RecentEvents
  readonly #bindings: LogFields

  constructor(next: Logger, events: RecentEvents, bindings: LogFields) {
    this.#next = next
    this.#events = events
    this.#bindings = bindings
  }

  trace(fields: LogFields, message: string): unknown {
    return this.#next.trace?.(fields, message)
  }

  debug(fields: LogFields, message: string): unknown {
    if (message === LOG_EVENTS.operationRefused.message) this.#events.noteRefusal(fields, true)
    return this.#next.debug(fields, message)
  }

  info(fields: LogFields, message: string): unknown {
    return this.#next.info(fields, message)
  }

  warn(fields: LogFields, message: string): unknown {
    if (message === LOG_EVENTS.operationDropped.message) this.#events.noteRefusal(fields, false)
    else this.#events.noteWarning('warn', message, { ...this.#bindings, ...fields })
    return this.#next.warn(fields, message)
  }

  error(fields: LogFields, message: string): unknown {
    this.#events.noteWarning('error', message, { ...this.#bindings, ...fields })
    return this.#next.error(fields, message)
  }

  child(bindings: LogFields): Logger {
    const next = childLogger(this.#next, bindings)
    return new ObservedLogger(next, this.#events, { ...this.#bindings, ...bindings })
  }
}

function remedyOf(code: string): string | null {
  return Object.hasOwn(REFUSAL_CODES, code) ? REFUSAL_CODES[code as keyof typeof REFUSAL_CODES].remedy : null
}

function showFields(fields: LogFields): ShownWarning['fields'] {
  const shown = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [name, SECRET_FIELD.test(name) ? '***' : textOf(value)])
  return Object.fromEntries(shown)
}

/** Without the stack, which is in the log, and without passwords that a database's message may quote. */
function textOf(value: unknown): string {
  return maskSecrets(plainText(value)).slice(0, MAX_TEXT)
}

function plainText(value: unknown): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'string') return value.slice(0, MAX_TEXT * 4)
  if (value instanceof Error) {
    const { code } = value as { code?: unknown }
    return `${typeof code === 'string' ? `${code}: ` : ''}${value.message.slice(0, MAX_TEXT * 4)}`
  }
  if (typeof value === 'object') return jsonText(value)
  return String(value)
}

function jsonText(value: object): string {
  try {
    return JSON.stringify(value).slice(0, MAX_TEXT * 4)
  } catch {
    return Object.prototype.toString.call(value) // circular, so it is named without its content
  }
}
