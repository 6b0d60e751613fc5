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
 * Fills in defaults, and checks what is given before anything runs: a batch of no operations, or a limit that is
 * not a number, would silently hold up clients. `auth: null` is refused rather than treated as left out: it may be
 * a provider that was not found, and the server would be open.
 *
 * @throws ConfigError `CONFIG_INVALID`, listing every invalid option
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

/** The options that a server of the library is given. */
export interface GivenOptions {
  readonly sync: SyncServiceConfig
  readonly logger: Logger | null | undefined
  readonly port: unknown
  /** The server's option, where it sends the header. */
  readonly crossOriginEmbedderPolicy?: unknown
}

export interface PortDefaults {
  /** Used where neither `port` nor `PORT` is given. */
  readonly port: number
  /** Environment whose `PORT` is used where no port is given. Default: it is ignored. */
  readonly env?: NodeJS.ProcessEnv
}

/**
 * Fills in port and logger. Checks the options of the sync service too, although it resolves them itself, so that
 * all problems are reported at once.
 *
 * @throws ConfigError `CONFIG_INVALID`, listing every invalid option
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
 * The given logger, or pino where there is none. It is checked now, because a missing method would show only once
 * something is logged. `console.trace` is not used: it prints a stack trace, and there would be one per commit.
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
 * The port to listen on; 0 is any free one. Hosting platforms set the variable PORT, and expect the server at that
 * port; an empty one counts as not set.
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

/** True for a store. A promise of `createPostgresServerStore` that was not awaited is refused. */
function isStore(given: unknown): boolean {
  return typeof (given as Partial<ServerStore> | null | undefined)?.append === 'function'
}

/** Reads options that a program gives, and collects their problems. */
class OptionReader {
  readonly #problems: string[] = []

  /** Reads a number; `undefined` counts as not given. */
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
  return Object.fromEntries(read) as SyncLimits // it has an entry for every name
}
