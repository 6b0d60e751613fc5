import { dirname, resolve } from 'node:path'
import { messageOf } from '../core/error-message.ts'
import { ConfigError } from '../core/errors.ts'
import { ownValue } from '../core/own-property.ts'
import { quantityOf } from '../core/quantity.ts'
import { parseSchema } from '../core/schema/parse-schema.ts'
import type { PlainObject } from '../core/schema/plain-object.ts'
import { isPlainObject } from '../core/schema/plain-object.ts'
import { displayPath } from './display-path.ts'
import { addToEnvironment, readDotenv } from './dotenv.ts'
import type { FoundConfig } from './find-config.ts'
import { findConfig, readConfig } from './find-config.ts'
import { findDoubts } from './find-doubts.ts'
import { loadSchemaFile } from './load-schema.ts'
import { buildOptionTree } from './option-tree.ts'
import { collectOverrides } from './overrides.ts'
import type { ConfigProblem, Override } from './parse-options.ts'
import { parseOptions } from './parse-options.ts'
import type { OptionTree } from './resolve-config.ts'
import {
  findConflicts,
  resolveAdmin,
  resolveAuth,
  resolveBackup,
  resolveHttp,
  resolveRetention,
} from './resolve-config.ts'
import type {
  ConfigEntry,
  EffectiveConfig,
  LoadConfigOptions,
  LoadedSchema,
  ServerConfig,
  UnusedOverride,
} from './server-config.ts'

/**
 * Finds, reads and checks the configuration. Flags override environment variables, those override a `.env` beside
 * the file, that overrides the file, and the file overrides the defaults.
 *
 * @throws ConfigError `CONFIG_NOT_FOUND`; `CONFIG_INVALID`, listing every problem with its path
 */
export async function loadConfig({
  cwd,
  configFile,
  flags = {},
  env = {},
}: LoadConfigOptions): Promise<EffectiveConfig> {
  const found = await openConfig(cwd, configFile)
  const file = found?.file ?? null
  const configDir = file === null ? cwd : dirname(file)
  const dotenv = readDotenv(configDir)
  addToEnvironment(dotenv) // for files of the app that the configuration names
  const { raw, prefix, beside } = pickServerPart(found, cwd)
  const sources = { flags, env, dotenv, cwd, configDir }
  const { overrides, voided, problems: clashes } = collectOverrides(raw, sources)
  const { tree, entries, problems: mistakes } = parseOptions({ raw, baseDir: configDir, overrides, voided })
  const schema = await loadSchema(tree.schema, cwd)
  const problems = [
    ...findGuardsBeside(beside, overrides),
    ...clashes,
    ...mistakes,
    ...findConflicts(tree, (path) => mistakes.some((mistake) => isWithin(mistake.path, path))).map(
      (conflict) => nameOrigin(conflict, overrides),
    ),
    ...('problem' in schema ? [nameOrigin(schema.problem, overrides)] : []),
  ]
  if (problems.length > 0 || 'problem' in schema) throw configError(found, cwd, prefix, problems)
  // Without problems, the tree has the shape that the table describes.
  const values = toServerConfig(tree as unknown as OptionTree, raw, schema.loaded)
  return {
    values,
    entries: withSchemaVersion(entries, values),
    unused: findUnused(overrides, entries),
    doubts: findDoubts(sources, { values, entries, beside, file }),
    file,
  }
}

/** Names where a value comes from, if not from the file, because it has to be mended there. */
function nameOrigin(
  { path, message }: ConfigProblem,
  overrides: ReadonlyMap<string, Override>,
): ConfigProblem {
  const origin = overrides.get(path)?.origin
  const source = origin !== undefined && 'name' in origin ? ` (${origin.name})` : ''
  return { path: `${path}${source}`, message }
}

function findUnused(
  overrides: ReadonlyMap<string, Override>,
  entries: readonly ConfigEntry[],
): readonly UnusedOverride[] {
  const used = new Set(entries.map(({ path }) => path))
  return [...overrides].flatMap(([path, { origin }]) =>
    'name' in origin && !used.has(path) ? [{ name: origin.name, path }] : [],
  )
}

async function openConfig(cwd: string, configFile: string | undefined): Promise<FoundConfig | null> {
  if (configFile === undefined) return findConfig(cwd)
  return readConfig(resolve(cwd, configFile), cwd)
}

interface ServerPart {
  readonly raw: PlainObject
  /** Prefix of its paths in the file, for messages. */
  readonly prefix: string
  /** Options next to it, which the server does not read. */
  readonly beside: readonly string[]
}

/** The daemon's part of the file: its `server` key or, without one, all of it. */
function pickServerPart(found: FoundConfig | null, cwd: string): ServerPart {
  if (found === null) return { raw: {}, prefix: '', beside: [] }
  const { config } = found
  if (!isPlainObject(config))
    throw configError(found, cwd, '', [{ path: 'configuration', message: 'expected an object' }])
  const { $schema: _editorHint, ...whole } = config
  if (!Object.hasOwn(whole, 'server')) return { raw: whole, prefix: '', beside: [] }
  const { server } = whole
  if (!isPlainObject(server))
    throw configError(found, cwd, '', [{ path: 'server', message: 'expected an object' }])
  const schema = server.schema ?? whole.schema
  const raw = schema === undefined ? server : { ...server, schema }
  const beside = [...buildOptionTree().children.keys()].filter(
    (name) => ownValue(whole, name) !== undefined && !Object.hasOwn(raw, name),
  )
  return { raw, prefix: 'server.', beside }
}

/**
 * Options without which a server may be open to anyone. Beside `server` they are ignored, which is an error, unless
 * a variable gives the option that is named here instead.
 */
const GUARDS: ReadonlyMap<string, string | null> = new Map([
  ['auth', 'auth.mode'],
  ['admin', 'admin.adminToken'],
  ['tls', null],
])

function findGuardsBeside(
  beside: readonly string[],
  overrides: ReadonlyMap<string, Override>,
): readonly ConfigProblem[] {
  return beside
    .filter((name) => GUARDS.has(name) && !overrides.has(GUARDS.get(name) ?? ''))
    .map((path) => ({
      path,
      message: `missing; ${path} stands beside server, where the server does not read it. Move it into server`,
    }))
}

type SchemaResult = { readonly loaded: LoadedSchema | null } | { readonly problem: ConfigProblem }

async function loadSchema(source: unknown, cwd: string): Promise<SchemaResult> {
  if (source === undefined) return { loaded: null }
  try {
    if (typeof source !== 'string') return { loaded: { definition: parseSchema(source), file: null } }
    return { loaded: { definition: await loadSchemaFile(source), file: source } }
  } catch (error) {
    const message = messageOf(error)
    return { problem: { path: 'schema', message: message.replaceAll(`${cwd}/`, '') } }
  }
}

function toServerConfig(tree: OptionTree, raw: PlainObject, schema: LoadedSchema | null): ServerConfig {
  const schemaVersion = tree.schemaVersion ?? schema?.definition.version ?? 1
  return {
    host: tree.host,
    port: tree.port,
    path: tree.path,
    store: tree.store,
    schema,
    schemaVersion,
    supportedSchemaVersions: tree.supportedSchemaVersions ?? { min: schemaVersion, max: schemaVersion },
    auth: resolveAuth(tree.auth),
    batchSize: tree.batchSize,
    maxConnections: tree.maxConnections,
    limits: tree.limits,
    http: resolveHttp(tree.http, raw.http === false),
    admin: resolveAdmin(tree.admin),
    retention: resolveRetention(tree.retention),
    blobs: tree.blobs ?? null,
    backup: tree.backup === undefined ? null : resolveBackup(tree.backup),
    log: tree.log,
    tls: tree.tls ?? null,
    shutdownTimeout: tree.shutdownTimeout,
  }
}

/** Shows the schema version that the server found for itself like one that was given. */
function withSchemaVersion(
  entries: readonly ConfigEntry[],
  { schema, schemaVersion }: ServerConfig,
): ConfigEntry[] {
  if (entries.some(({ path }) => path === 'schemaVersion')) return [...entries]
  const after = entries.findIndex(({ path }) => path === 'auth.mode')
  const entry: ConfigEntry = {
    path: 'schemaVersion',
    display: String(schemaVersion),
    origin: { kind: schema === null ? 'default' : 'schema' },
  }
  return entries.toSpliced(after, 0, entry)
}

function isWithin(inner: string, outer: string): boolean {
  const path = inner.split(' ')[0] ?? ''
  return path === outer || path.startsWith(`${outer}.`) || path.startsWith(`${outer}[`)
}

function configError(
  found: FoundConfig | null,
  cwd: string,
  prefix: string,
  problems: readonly ConfigProblem[],
): ConfigError {
  const name = found === null ? 'The configuration' : displayPath(found.file, cwd)
  const count = quantityOf(problems.length, 'problem')
  const lines = problems.map(
    ({ path, message }) => `${path.startsWith('--') ? '' : prefix}${path}: ${message}`,
  )
  return new ConfigError('CONFIG_INVALID', [`${name}: ${count}`, ...lines].join('\n'))
}
