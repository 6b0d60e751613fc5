import type { FieldsOf, LogEvent } from '../core/log-events.ts'

/** An event of the log that names its session. */
export interface SessionEvent extends LogEvent {
  readonly fields: readonly ['sessionId', ...string[]]
}

/** The fields of such an event; the session adds its id. */
export type SessionFields<Event extends SessionEvent> = Omit<FieldsOf<Event>, 'sessionId'>

/** A session that says something in the log. */
export interface SessionLog {
  log<Event extends SessionEvent>(event: Event, fields: SessionFields<Event>): void
}
