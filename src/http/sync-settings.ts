import { pino } from 'pino'
import { isAuthProvider } from '../auth/provider.ts'
import { ConfigError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { describeRange, isInRange, type NumberRange, PORT_RANGE } from '../core/number-range.ts'
import { describeValue } from '../protocol/json-value.ts'
import type { ServerStore } from '../store/store.ts'
import {
  BATCH_SIZE_RANGE,
  DEFAULT_STOP_TIMEOUT_MS,
  DEFAULT_SYNC_LIMITS,
  SCHEMA_VERSION_RANGE,
  STOP_SPREAD_RANGE_MS,
  STOP_TIMEOUT_RANGE_MS,
  SYNC_LIMIT_RANGES,
  type SyncLimits,
} from '../sync/options.ts'
import { unsentOriginProblem } from './allowed-origins.ts'
import type { SyncServiceConfig } from './sync-service.ts'

/** The numbers of a sync service, complete and each within its range. */
export interface SyncSettings {
  readonly batchSize: number
  readonly schemaVersion: number
  readonly supportedSchemaVersions: { readonly min: number; readonly max: number }
  readonly limits: SyncLimits
  readonly stopSpreadMs: number
  readonly stopTimeoutMs: number
}

/**
 * Fills in what is not given. A program that gives a number out of range is told before anything runs: a batch of no
 * operations, or a limit that is no number, would hold up clients without a word. Nor is `auth` taken
 * for left out when it is `null`, as a provider may be that was not found: the server would be open.
 *
 * @throws ConfigError `CONFIG_INVALID`, listing every option that cannot be used
 */
export function resolveSyncSettings(config: SyncServiceConfig): SyncSettings {
  const reader = new NumberReader()
  const schemaVersion = reader.read('schemaVersion', config.schemaVersion, {
    fallback: 1,
    range: SCHEMA_VERSION_RANGE,
  })
  const settings = {
    batchSize: reader.read('batchSize', config.batchSize, { fallback: 100, range: BATCH_SIZE_RANGE }),
    schemaVersion,
    supportedSchemaVersions: readSupported(config, schemaVersion, reader),
    limits: readLimits(config, reader),
    stopSpreadMs: reader.read('stopSpreadMs', config.stopSpreadMs, {
      fallback: 0,
      range: STOP_SPREAD_RANGE_MS,
    }),
    stopTimeoutMs: reader.read('stopTimeoutMs', config.stopTimeoutMs, {
      fallback: DEFAULT_STOP_TIMEOUT_MS,
      range: STOP_TIMEOUT_RANGE_MS,
    }),
  }
  if (!isStore(config.store)) {
    const given: unknown = config.store
    const isMissing = given === undefined
    reader.report('store', `expected an open store${isMissing ? '' : `, got ${describeValue(given)}`}`)
  }
  if (config.auth !== undefined && !isAuthProvider(config.auth)) {
    reader.report('auth', `expected an object with authenticate(), got ${describeValue(config.auth)}`)
  }
  for (const problem of findOriginProblems(config.allowedOrigins)) reader.report('allowedOrigins', problem)
  reader.assertNoProblems()
  return settings
}

const LOGGER_METHODS = ['debug', 'info', 'warn', 'error'] as const

/**
 * The logger that is given, or pino where none is. Of `console`, `trace` is not used: it prints where it was called
 * from, for each commit.
 *
 * @throws ConfigError `CONFIG_INVALID` for what lacks a method, which would be missed only once there is something to log
 */
export function resolveLogger(given: Logger | null | undefined): Logger {
  if (given === undefined || given === null) return pino({ name: 'kora-server' })
  const missing = LOGGER_METHODS.filter((method) => typeof given[method] !== 'function')
  if (missing.length > 0) {
    const reader = new NumberReader()
    const lacking = missing.map((method) => `${method}()`).join(', ')
    reader.report('logger', `expected an object such as pino, got ${describeValue(given)} without ${lacking}`)
    reader.assertNoProblems()
  }
  return given === console ? consoleLogger() : given
}

function consoleLogger(): Logger {
  return {
    debug: (...said) => console.debug(...said),
    info: (...said) => console.info(...said),
    warn: (...said) => console.warn(...said),
    error: (...said) => console.error(...said),
  }
}

/**
 * The port to listen on; 0 is any free one.
 *
 * @throws ConfigError `CONFIG_INVALID` for what is given and is no port
 */
export function resolvePort(given: unknown, fallback: number): number {
  return readPort('port', given, fallback)
}

/**
 * The port that the variable PORT names, as hosts set it. An empty one is not set.
 *
 * @throws ConfigError `CONFIG_INVALID` when it names none: whoever set it waits at that port
 */
export function portOfEnvironment({ PORT: text = '' }: NodeJS.ProcessEnv, fallback: number): number {
  if (text === '') return fallback
  return readPort('PORT', /^\d+$/.test(text) ? Number(text) : text, fallback)
}

function readPort(name: string, given: unknown, fallback: number): number {
  const reader = new NumberReader()
  const port = reader.read(name, given, { fallback, range: PORT_RANGE })
  reader.assertNoProblems()
  return port
}

function findOriginProblems(given: unknown): readonly string[] {
  if (given === undefined) return []
  if (!Array.isArray(given)) return [`expected a list of origins, got ${describeValue(given)}`]
  return given.flatMap((origin, index) => {
    const problem = unsentOriginProblem(origin)
    return problem === null ? [] : [`entry ${index + 1}, ${problem}`]
  })
}

/** True for a store; what `createPostgresServerStore` returns is none until it was awaited. */
function isStore(given: unknown): boolean {
  return typeof (given as Partial<ServerStore> | null | undefined)?.append === 'function'
}

/** Takes numbers that a program gives, and collects what is wrong with them. */
class NumberReader {
  readonly #problems: string[] = []

  /** An option that is `undefined` is not given. */
  read(path: string, given: unknown, { fallback, range }: { fallback: number; range: NumberRange }): number {
    if (given === undefined) return fallback
    if (isInRange(given, range)) return given
    this.report(path, `expected ${describeRange(range)}, got ${describeValue(given)}`)
    return fallback
  }

  report(path: string, message: string): void {
    this.#problems.push(`${path}: ${message}`)
  }

  assertNoProblems(): void {
    const { length } = this.#problems
    if (length === 0) return
    const head = `The options of the server: ${length === 1 ? '1 problem' : `${length} problems`}`
    throw new ConfigError('CONFIG_INVALID', [head, ...this.#problems].join('\n'))
  }
}

function readSupported(
  { supportedSchemaVersions: given }: SyncServiceConfig,
  schemaVersion: number,
  reader: NumberReader,
): SyncSettings['supportedSchemaVersions'] {
  const rule = { fallback: schemaVersion, range: SCHEMA_VERSION_RANGE }
  const min = reader.read('supportedSchemaVersions.min', given?.min, rule)
  const max = reader.read('supportedSchemaVersions.max', given?.max, rule)
  if (min > max) reader.report('supportedSchemaVersions', `min (${min}) is above max (${max})`)
  return { min, max }
}

function readLimits(
  { limits, maxConnections, maxOperationBytes, maxOpsPerMinute }: SyncServiceConfig,
  reader: NumberReader,
): SyncLimits {
  const beside: { readonly [limit in keyof SyncLimits]?: unknown } = {
    maxConnections,
    maxOperationBytes,
    maxOpsPerMinute,
  }
  const names = Object.keys(SYNC_LIMIT_RANGES) as (keyof SyncLimits)[] // the keys of its type
  const read = names.map((name) => {
    const rule = { fallback: DEFAULT_SYNC_LIMITS[name], range: SYNC_LIMIT_RANGES[name] }
    const isBeside = beside[name] !== undefined
    return [
      name,
      reader.read(isBeside ? name : `limits.${name}`, isBeside ? beside[name] : limits?.[name], rule),
    ]
  })
  return Object.fromEntries(read) as SyncLimits // of which the table has every name
}
