import { messageOf } from '../../core/error-message.ts'
import { exitCodeOf } from '../output/errors.ts'

/** Something that `check` found out. */
export interface Finding {
  /** `error`: the server would not start; `warning`: it starts, but someone should know; `ok`: fine. */
  readonly severity: 'error' | 'warning' | 'ok'
  /** What it is about: an option path, or a part of the server. */
  readonly subject: string
  readonly message: string
  /** What `check` ends with because of it; 0 unless it is an error. */
  readonly exitCode: number
}

/** A finding that all is well. */
export function ok(subject: string, message: string): Finding {
  return { severity: 'ok', subject, message, exitCode: 0 }
}

/** A finding with which the server starts all the same. */
export function warning(subject: string, message: string): Finding {
  return { severity: 'warning', subject, message, exitCode: 0 }
}

/** The finding that an error comes to, with the exit code that `start` would end with. */
export function failure(subject: string, error: unknown): Finding {
  const message = messageOf(error)
  return { severity: 'error', subject, message, exitCode: exitCodeOf(error) }
}
