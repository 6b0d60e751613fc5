import { pino } from 'pino'
import { isAuthProvider } from '../auth/provider.ts'
import { ConfigError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { describeRange, isInRange, type NumberRange, PORT_RANGE } from '../core/number-range.ts'
import { quantityOf } from '../core/quantity.ts'
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
import { EMBEDDER_POLICIES, isEmbedderPolicy } from './embedder-policy.ts'
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
  const reader = new OptionReader()
  const settings = readSyncSettings(config, reader)
  reader.assertNoProblems()
  return settings
}

function readSyncSettings(config: SyncServiceConfig, reader: OptionReader): SyncSettings {
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
  return settings
}

/** What a server of the library is given. */
export interface GivenOptions {
  readonly sync: SyncServiceConfig
  readonly logger: Logger | null | undefined
  readonly port: unknown
  /** Of a server that sends it. */
  readonly crossOriginEmbedderPolicy?: unknown
}

export interface PortDefaults {
  /** Where neither is given. */
  readonly port: number
  /** Its variable `PORT` names the port where none is given. Default: it is not looked at. */
  readonly env?: NodeJS.ProcessEnv
}

/**
 * Fills in port and logger. The options of the sync service, which resolves them itself, are looked at as well, so that
 * all that is wrong is told at once.
 *
 * @throws ConfigError `CONFIG_INVALID`, listing every option that cannot be used
 */
export function resolveOptions(
  { sync, logger, port, crossOriginEmbedderPolicy }: GivenOptions,
  defaults: PortDefaults,
): { readonly port: number; readonly logger: Logger } {
  const reader = new OptionReader()
  const resolved = { port: readPort(port, defaults, reader), logger: readLogger(logger, reader) }
  readSyncSettings(sync, reader)
  checkEmbedderPolicy(crossOriginEmbedderPolicy, reader)
  reader.assertNoProblems()
  return resolved
}

function checkEmbedderPolicy(given: unknown, reader: OptionReader): void {
  if (given === undefined || isEmbedderPolicy(given)) return
  const expected = `expected one of ${EMBEDDER_POLICIES.join(', ')}`
  reader.report('crossOriginEmbedderPolicy', `${expected}, got ${describeValue(given)}`)
}

const LOGGER_METHODS = ['debug', 'info', 'warn', 'error'] as const

/**
 * The logger that is given, or pino where none is. What lacks a method would be missed only once there is something to
 * log. Of `console`, `trace` is not used: it prints where it was called from, for each commit.
 */
function readLogger(given: Logger | null | undefined, reader: OptionReader): Logger {
  if (given === undefined || given === null) return pino({ name: 'kora-server' })
  const missing = LOGGER_METHODS.filter((method) => typeof given[method] !== 'function')
  if (missing.length > 0) {
    const lacking = missing.map((method) => `${method}()`).join(', ')
    reader.report('logger', `expected an object such as pino, got ${describeValue(given)} without ${lacking}`)
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
 * The port to listen on; 0 is any free one. Hosts set the variable PORT, and wait at the port that it names; an empty one
 * is not set.
 */
function readPort(given: unknown, { port: fallback, env }: PortDefaults, reader: OptionReader): number {
  const rule = { fallback, range: PORT_RANGE }
  const text = env?.PORT ?? ''
  if (given !== undefined || text === '') return reader.read('port', given, rule)
  return reader.read('PORT', /^\d+$/.test(text) ? Number(text) : text, rule)
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

/** Takes options that a program gives, and collects what is wrong with them. */
class OptionReader {
  readonly #problems: string[] = []

  /** A number; an option that is `undefined` is not given. */
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
    const head = `The options of the server: ${quantityOf(length, 'problem')}`
    throw new ConfigError('CONFIG_INVALID', [head, ...this.#problems].join('\n'))
  }
}

function readSupported(
  { supportedSchemaVersions: given }: SyncServiceConfig,
  schemaVersion: number,
  reader: OptionReader,
): SyncSettings['supportedSchemaVersions'] {
  const rule = { fallback: schemaVersion, range: SCHEMA_VERSION_RANGE }
  const min = reader.read('supportedSchemaVersions.min', given?.min, rule)
  const max = reader.read('supportedSchemaVersions.max', given?.max, rule)
  if (min > max) reader.report('supportedSchemaVersions', `min (${min}) is above max (${max})`)
  return { min, max }
}

function readLimits(
  { limits, maxConnections, maxOperationBytes, maxOpsPerMinute }: SyncServiceConfig,
  reader: OptionReader,
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
