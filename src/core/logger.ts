import { messageOf } from './error-message.ts'
import type { FieldsOf, LogEvent } from './log-events.ts'
import { isPromiseLike } from './promise-like.ts'

/** The structured log sink: pino, or anything with these of its methods. */
export interface Logger {
  /** Absent: single commits are not logged. */
  trace?(fields: LogFields, message: string): void
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** Returns a logger that adds these fields to every line. Absent: they are passed with each line. */
  child?(bindings: LogFields): Logger
}

export type LogFields = { readonly [field: string]: unknown }

/**
 * Writes an event of the table at its level. Never throws, because a logger may be the application's: when it
 * fails, the logged event has happened all the same.
 */
export function logEvent<Event extends LogEvent>(
  logger: Logger,
  event: Event,
  fields: FieldsOf<Event> = {},
): void {
  try {
    const written: unknown = logger[event.level]?.(fields, event.message)
    if (isPromiseLike(written)) written.then(undefined, tellOfFailure)
  } catch (error) {
    tellOfFailure(error)
  }
}

let isFailureTold = false

/** Prints the failure on the console, because there is no log for it; only once, because every line may fail. */
function tellOfFailure(error: unknown): void {
  if (isFailureTold) return
  isFailureTold = true
  process.emitWarning(`The logger of kora-server has failed: ${messageOf(error)}`)
}

/** A logger that adds these fields to every line. */
export function childLogger(logger: Logger, bindings: LogFields): Logger {
  return childOf(logger, bindings) ?? boundLogger(logger, bindings)
}

function childOf(logger: Logger, bindings: LogFields): Logger | undefined {
  try {
    return logger.child?.(bindings)
  } catch (error) {
    tellOfFailure(error)
    return undefined
  }
}

function boundLogger(logger: Logger, bindings: LogFields): Logger {
  const writer = (level: LogEvent['level']) => (fields: LogFields, message: string) =>
    logger[level]?.({ ...bindings, ...fields }, message)
  return {
    trace: writer('trace'),
    debug: writer('debug'),
    info: writer('info'),
    warn: writer('warn'),
    error: writer('error'),
  }
}

/** A logger that discards everything: for tests, and for libraries that bring no logger. */
export const silentLogger: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
}
