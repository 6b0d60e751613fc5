import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { parseOptions } from '../../../src/config/parse-options.ts'
import { SchemaError, StoreError } from '../../../src/core/errors.ts'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import {
  formatSectionHeader,
  formatTrailer,
  formatTrailerStart,
  type SectionKind,
} from '../../../src/store/backup/backup-format.ts'
import { restoreBackup } from '../../../src/store/backup/restore-backup.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import type { Mutator } from './mutator.ts'

const CANARY = 'canary-of-forty-characters-in-a-secret-1'

/** A configuration with every group, and with secrets that no message may show. */
export const CONFIG: object = {
  host: '127.0.0.1',
  port: 4567,
  path: '/sync',
  store: { driver: 'postgres', connectionString: `postgres://kora:${CANARY}@db/app`, poolSize: 5 },
  schemaVersion: 2,
  supportedSchemaVersions: { min: 1, max: 2 },
  auth: {
    mode: 'mixed',
    jwt: { secret: [CANARY], algorithms: ['HS256'], issuer: 'a', audience: ['b'], clockTolerance: '5s' },
    scopes: { todos: { userId: '$claims.sub' } },
    anonymous: { scopes: { feedback: {} }, prefix: 'anon' },
    invalidToken: 'reject',
  },
  limits: { maxOperationBytes: 1000, maxOpsPerMinute: 60, handshakeTimeout: '10s' },
  http: { health: true, allowedOrigins: ['https://a.example'], trustProxy: ['10.0.0.0/8'] },
  admin: { adminToken: CANARY, port: 9000, host: '127.0.0.1' },
  retention: { keepFor: '30d' },
  blobs: { directory: './blobs' },
  backup: { directory: './backups', every: '24h', keep: 7 },
  log: { level: 'info', format: 'json' },
  shutdownTimeout: '10s',
}

/** @returns what is wrong with what the parser made of it; problems are what it is for */
export function findConfigProblem(config: unknown): string | null {
  const raw = config as { readonly [key: string]: unknown }
  const parsed = parseOptions({ raw, baseDir: '/nowhere', overrides: new Map(), voided: new Set() })
  const shown = [
    ...parsed.problems.map(({ path, message }) => `${path}: ${message}`),
    ...parsed.entries.map(({ path, display }) => `${path}: ${display}`),
  ]
  const leak = shown.find((text) => text.includes(CANARY))
  return leak === undefined ? null : `a secret is shown: ${leak}`
}

/** @returns what is wrong: anything but a refusal, or tables of exactly the names of the schema */
export async function findSchemaProblem(value: unknown, filename: string): Promise<string | null> {
  let schema: SchemaDefinition
  try {
    schema = parseSchema(value)
  } catch (error) {
    if (error instanceof SchemaError) return null
    throw error
  }
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  try {
    await store.setSchema(schema)
  } catch (error) {
    if (error instanceof SchemaError) return null
    throw error
  } finally {
    await store.close()
  }
  const Database = loadSqliteDriver()
  const database = new Database(filename)
  try {
    const found = database
      .prepare("select name from sqlite_master where type = 'table' and name not glob '_kora_*'")
      .pluck()
      .all() as string[]
    const tables = found.filter((name) => !name.startsWith('sqlite_')).sort()
    const wanted = Object.keys(schema.collections).sort()
    if (JSON.stringify(tables) !== JSON.stringify(wanted)) return `tables ${tables} for collections ${wanted}`
    for (const [name, { fields }] of Object.entries(schema.collections)) {
      const columns = (database.pragma(`table_info("${name}")`) as { name: string }[]).map((row) => row.name)
      const missing = Object.keys(fields).filter((field) => !columns.includes(field))
      if (missing.length > 0) return `${name} has no columns ${missing}`
    }
    return null
  } finally {
    database.close()
  }
}

/** A backup with changed bytes, or with changed entries under checksums that fit. */
export function mutatedBackup(backup: Buffer, mutator: Mutator): Buffer {
  return mutator.random() < 0.5 ? mutator.bytes(backup, [backup]) : withChangedEntries(backup, mutator)
}

/** A backup with a changed schema under checksums that fit. */
export function withChangedSchema(backup: Buffer, mutator: Mutator): Buffer {
  return withChangedEntries(backup, mutator, 'schema')
}

function withChangedEntries(backup: Buffer, mutator: Mutator, kind?: SectionKind): Buffer {
  const { header, sections, trailer } = takeApart(backup)
  const changed =
    kind === undefined
      ? mutator.below(sections.length)
      : sections.findIndex((section) => section.kind === kind)
  const pieces: Buffer[] = [Buffer.from(`${header}\n`)]
  const counts = { nodes: 0, revocations: 0, operations: 0, dropped: 0, schema: 0 }
  for (const [i, { kind, lines }] of sections.entries()) {
    if (i === changed) {
      const line = mutator.below(lines.length)
      const text = Buffer.from(lines[line] ?? '')
      const entry =
        mutator.random() < 0.7
          ? (JSON.stringify(mutator.json(JSON.parse(text.toString()))) ?? '')
          : mutator.bytes(text, [text]).toString().replaceAll('\n', ' ')
      lines[line] = entry
    }
    const raw = Buffer.from(lines.map((entry) => `${entry}\n`).join(''))
    const bytes = gzipSync(raw)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const section = { section: kind, count: lines.length, bytes: bytes.length, rawBytes: raw.length, sha256 }
    pieces.push(Buffer.from(formatSectionHeader(section)), bytes)
    counts[kind] += lines.length
  }
  const whole = { ...trailer, ...counts }
  const sha256 = createHash('sha256')
    .update(Buffer.concat(pieces))
    .update(formatTrailerStart(whole))
    .digest('hex')
  pieces.push(Buffer.from(formatTrailer({ ...whole, sha256 })))
  return Buffer.concat(pieces)
}

type Section = { readonly kind: SectionKind; readonly lines: string[] }

function takeApart(backup: Buffer) {
  const sections: Section[] = []
  let position = backup.indexOf('\n') + 1
  const header = backup.subarray(0, position - 1).toString()
  for (;;) {
    const end = backup.indexOf('\n', position)
    const line = JSON.parse(backup.subarray(position, end).toString())
    if (line.end === true) return { header, sections, trailer: line }
    const raw = gunzipSync(backup.subarray(end + 1, end + 1 + line.bytes)).toString()
    sections.push({ kind: line.section, lines: raw.split('\n').slice(0, -1) })
    position = end + 1 + line.bytes
  }
}

/** What refuses a schema that is one: its kinds could not become those of the target, or its resolvers are not there. */
const SCHEMA_REFUSALS: ReadonlySet<string> = new Set(['SCHEMA_CHANGE_REFUSED', 'RESOLVER_MISSING'])

/** @returns what is wrong: anything but a refusal that changed nothing, or a restore */
export async function findRestoreProblem(
  target: ServerStore,
  bytes: Buffer,
): Promise<{ problem: string | null; isRefused: boolean }> {
  const before = await logOf(target)
  async function* inPieces(): AsyncGenerator<Uint8Array> {
    for (let start = 0; start < bytes.length; start += 5000) yield bytes.subarray(start, start + 5000)
  }
  try {
    await restoreBackup(target, () => inPieces(), 'replace')
    return { problem: null, isRefused: false }
  } catch (error) {
    const isOfSchema = error instanceof SchemaError && SCHEMA_REFUSALS.has(error.code)
    if (!isOfSchema && !(error instanceof StoreError && error.code === 'BACKUP_INVALID')) {
      return { problem: String(error instanceof Error ? error.stack : error), isRefused: true }
    }
    const isUnchanged = (await logOf(target)) === before
    return { problem: isUnchanged ? null : 'it was refused after the first write', isRefused: true }
  }
}

/** With the schema, which a backup may add to. */
async function logOf(store: ServerStore): Promise<string> {
  const entries = await store.getOperationsAfterDelivery(0, 1000)
  const log = entries.map(({ operation, deliverySequence }) => `${deliverySequence} ${operation.id}`)
  return `${log.join()} ${JSON.stringify(await store.readRecordedSchema())}`
}
