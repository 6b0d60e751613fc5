import { messageOf } from '../../core/error-message.ts'
import type { ErrorCode } from '../../core/errors.ts'
import { KoraServerError } from '../../core/errors.ts'
import { maskSecrets } from '../../core/mask-secrets.ts'
import type { Terminal } from '../terminal.ts'
import { createColours } from './colours.ts'
import { escapeControlsInLines } from './escape-controls.ts'

/** 0 done, 1 failed while working, 2 wrong input. */
export type ExitCode = number
export const EXIT_DONE = 0
export const EXIT_FAILED = 1
export const EXIT_WRONG_INPUT = 2

/** The errors that the user mends by giving other input; all others occur while working. */
const WRONG_INPUT: ReadonlySet<ErrorCode> = new Set([
  'UNKNOWN_COLLECTION',
  'UNKNOWN_FIELD',
  'INVALID_QUERY',
  'NO_SCHEMA',
  'RESOLVER_MISSING',
  'SCHEMA_INVALID',
  'SCHEMA_VALIDATION',
  'SCHEMA_CHANGE_REFUSED',
  'CONFIG_INVALID',
  'CONFIG_NOT_FOUND',
  'INVALID_ARGUMENT',
  'AUTH_CONFIG',
  'STORE_NOT_EMPTY',
  'BACKUP_REFUSED',
  'TLS_INVALID',
])

/** The exit code that tells a script whether input or work caused the error. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof KoraServerError && WRONG_INPUT.has(error.code) ? EXIT_WRONG_INPUT : EXIT_FAILED
}

/** Prints the error: its message, and with `isDetailed` its stack and those of its causes. */
export async function reportError(error: unknown, terminal: Terminal, isDetailed: boolean): Promise<void> {
  const colours = createColours(terminal.stderr, terminal.env)
  const text = isDetailed ? describeWithStack(error) : describe(error)
  await terminal.stderr.write(`${colours.red('error:')} ${escapeControlsInLines(maskSecrets(text))}\n`)
}

function describe(error: unknown): string {
  if (error instanceof KoraServerError) return error.message
  const message = messageOf(error)
  return `${message}\nThis was not foreseen: run it again with --log-level debug and report what that prints.`
}

function describeWithStack(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const stack = error.stack ?? error.message
  return error.cause === undefined ? stack : `${stack}\ncaused by: ${describeWithStack(error.cause)}`
}
