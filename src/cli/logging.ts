import { type DestinationStream, pino } from 'pino'
import type { ServerConfig } from '../config/server-config.ts'
import { lazyRequire } from '../core/lazy-require.ts'
import type { Logger } from '../core/logger.ts'
import { maskSecrets } from '../core/mask-secrets.ts'
import { createColours } from './output/colours.ts'
import { escapeControlsInLines } from './output/escape-controls.ts'
import type { Output, Terminal } from './terminal.ts'

const pinoPretty = lazyRequire<typeof import('pino-pretty')>('pino-pretty')

/** Fields that are masked at any depth. */
const SECRET_FIELDS = [
  'token',
  'authToken',
  'accessToken',
  'adminToken',
  'metricsToken',
  'backupToken',
  'authorization',
  'password',
  'secret',
  'connectionString',
  'privateKey',
]

/**
 * The daemon's log: JSON lines for machines, aligned text for people. Written to stderr, because stdout is only for
 * data.
 */
export function createLogger({ level, format }: ServerConfig['log'], terminal: Terminal): Logger {
  const output = terminal.stderr
  const isPretty = isPrettyLog(format, output)
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date(terminal.now()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: serializeError },
      redact: {
        paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
        censor: '***',
      },
    },
    isPretty ? prettyDestination(output, terminal.env) : jsonDestination(output),
  )
}

/** `auto` is pretty on a terminal and JSON lines otherwise. */
export function isPrettyLog(format: ServerConfig['log']['format'], output: Output): boolean {
  return format === 'pretty' || (format === 'auto' && output.isTerminal)
}

function jsonDestination(output: Output): DestinationStream {
  return { write: (line) => void output.stream.write(line) }
}

function prettyDestination(output: Output, env: Terminal['env']): DestinationStream {
  const format = pinoPretty().prettyFactory({
    colorize: createColours(output, env).isColorSupported,
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
  })
  return { write: (line) => void output.stream.write(format(escapeDeep(JSON.parse(line)))) }
}

/**
 * Escapes control characters in every text of a log line: text from clients could otherwise move the cursor, hide
 * lines or forge new ones. Line feeds stay, because stacks need them; the printer indents the lines that follow.
 */
function escapeDeep(value: unknown): unknown {
  if (typeof value === 'string') return escapeControlsInLines(value)
  if (Array.isArray(value)) return value.map(escapeDeep)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [escapeControlsInLines(key), escapeDeep(inner)]),
  )
}

/** Converts an error to fields. Messages of database drivers may contain the connection string. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const code = (error as { code?: unknown }).code
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    message: maskSecrets(error.message),
    stack: maskSecrets(error.stack ?? ''),
    ...(error.cause === undefined ? {} : { cause: serializeError(error.cause) }),
  }
}
