import { MAX_LOGICAL } from '../../core/clock.ts'
import { StoreError } from '../../core/errors.ts'
import { isStorableText } from '../../core/storable-value.ts'
import type { DroppedOperation } from '../compaction/compaction.ts'
import { type JsonObject, parseObject } from '../parse-object.ts'
import type { RevocationSubject } from '../revocations.ts'

/*
 * A backup is a header, sections and a trailer:
 *
 *   {"format":"kora-server-backup","version":2,"createdAt":…,"nodeId":…}\n
 *   {"section":"nodes","count":n,"bytes":b,"rawBytes":r,"sha256":…}\n         then b bytes
 *   {"section":"revocations",…}\n                                             then b bytes
 *   {"section":"operations",…}\n                                              then b bytes
 *   …                                       sections in this order, each kind as often as needed
 *   {"section":"dropped",…}\n                                                 then b bytes
 *   {"section":"schema",…}\n                                                  then b bytes
 *   {"end":true,"nodes":n,"revocations":v,"operations":m,"maxDeliverySequence":…,"sha256":…}\n
 *
 * The bytes of a section are `count` lines of JSON, compressed with gzip; `rawBytes` is their length before that.
 * Its sha256 covers the bytes as they are in the file, so that a reader with little memory uses a section only
 * after it has been verified; that of the trailer covers every byte before itself.
 *
 * Version 3 is for a store with a recorded schema, which is the one line of the last section. Without a schema,
 * version 2 is for a log that was compacted; without `dropped` sections, it is version 1.
 *
 * A backup holds what the server was told, not what it made of that: records, tables, snapshots and delivery
 * sequences follow from the operations. The other versions of the schema do not follow from them, because devices
 * only tell their number. @see docs/backups.md
 */

const BACKUP_FORMAT = 'kora-server-backup'
const BACKUP_VERSION = 3
/** Format version for a store without a schema; earlier builds read versions up to this one. */
const COMPACTED_VERSION = 2
/** Format version for such a store if its log was never compacted; the first release reads it. */
const UNCOMPACTED_VERSION = 1

/** Kinds of sections, in their order. */
export const SECTION_KINDS = ['nodes', 'revocations', 'operations', 'dropped', 'schema'] as const
export type SectionKind = (typeof SECTION_KINDS)[number]

/** Size of a section when written, unless a single operation is larger. */
export const SECTION_BYTES = 1024 * 1024
/** Most bytes that a reader holds at once. Operations are as large as they were when accepted. */
export const MAX_SECTION_BYTES = 256 * 1024 * 1024
export const MAX_LINE_BYTES = 4096
/**
 * Most bytes in the section of the schema. A schema of a thousand fields takes some 250 kB, with twenty earlier
 * versions half a megabyte.
 */
export const MAX_SCHEMA_BYTES = 16 * 1024 * 1024

export interface BackupHeader {
  /** False: the log was never compacted, so there are no `dropped` sections. */
  readonly isCompacted: boolean
  /** False: there is no schema section. */
  readonly hasSchema: boolean
  /** ISO 8601 */
  readonly createdAt: string
  /** Node id of the server that made the backup. */
  readonly nodeId: string
  /** @see ServerStore.getFormerNodeIds */
  readonly formerNodeIds: readonly string[]
}

export interface SectionHeader {
  readonly section: SectionKind
  readonly count: number
  readonly bytes: number
  readonly rawBytes: number
  readonly sha256: string
}

export interface BackupTrailer {
  readonly nodes: number
  readonly revocations: number
  readonly operations: number
  readonly dropped: number
  /** Number of schemas: 1 or 0. */
  readonly schema: number
  /** Highest delivery sequence of the log when the backup was made. */
  readonly maxDeliverySequence: number
  readonly sha256: string
}

export interface BackupNode {
  readonly nodeId: string
  readonly userId: string | null
  readonly maxSequence: number
}

export type BackupRevocation = RevocationSubject & { readonly revokedAt: number }

// ── writing ──────────────────────────────────────────────────────────────────────────────────

/** The first line of a backup, with the lowest version that can express all of it. */
export function formatHeader(header: BackupHeader): string {
  const { isCompacted, hasSchema, createdAt, nodeId, formerNodeIds } = header
  const version = versionOf(header)
  return `${JSON.stringify({
    format: BACKUP_FORMAT,
    version,
    createdAt,
    nodeId,
    ...(hasSchema && isCompacted && { compacted: true }), // for other headers, the version says it
    ...(formerNodeIds.length > 0 && { formerNodeIds }),
  })}\n`
}

function versionOf({ isCompacted, hasSchema }: BackupHeader): number {
  if (hasSchema) return BACKUP_VERSION
  return isCompacted ? COMPACTED_VERSION : UNCOMPACTED_VERSION
}

/** The line before a section. */
export function formatSectionHeader({ section, count, bytes, rawBytes, sha256 }: SectionHeader): string {
  return `${JSON.stringify({ section, count, bytes, rawBytes, sha256 })}\n`
}

/** The last line of a backup. */
export function formatTrailer(trailer: BackupTrailer): string {
  return `${formatTrailerStart(trailer)}${JSON.stringify(trailer.sha256)}}\n`
}

/** The trailer up to its checksum, which covers this part too. */
export function formatTrailerStart(trailer: Omit<BackupTrailer, 'sha256'>): string {
  const { nodes, revocations, operations, dropped, schema, maxDeliverySequence } = trailer
  const counts = {
    nodes,
    revocations,
    operations,
    ...(dropped > 0 && { dropped }),
    ...(schema > 0 && { schema }),
  }
  return `${JSON.stringify({ end: true, ...counts, maxDeliverySequence }).slice(0, -1)},"sha256":`
}

/** An entry of the section of nodes. */
export function formatNode({ nodeId, userId, maxSequence }: BackupNode): string {
  return JSON.stringify({ node: nodeId, user: userId, sequence: maxSequence })
}

/** An entry of the section of revocations. */
export function formatRevocation({ kind, value, revokedAt }: BackupRevocation): string {
  return JSON.stringify({ kind, value, revokedAt })
}

/** An entry of the section of dropped operations. */
export function formatDropped(operation: DroppedOperation): string {
  const { operationId, nodeId, sequenceNumber, collection, recordId, wallTime, logical, isPurged } = operation
  return JSON.stringify({
    id: operationId,
    node: nodeId,
    sequence: sequenceNumber,
    collection,
    record: recordId,
    wallTime,
    logical,
    ...(isPurged && { purged: true }),
  })
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────

/** @throws StoreError `BACKUP_INVALID` */
export function parseHeader(line: string): BackupHeader {
  const header = parseObject(line)
  if (header?.format !== BACKUP_FORMAT) throw invalidBackup('it is not a backup of kora-server')
  const { version, createdAt, nodeId, compacted = false, formerNodeIds = [] } = header
  if (!isCount(version)) throw invalidBackup('its first line is damaged')
  if (version > BACKUP_VERSION) {
    throw invalidBackup(
      `it has version ${version}, and this release reads up to ${BACKUP_VERSION}. Use a later release`,
    )
  }
  if (typeof createdAt !== 'string' || typeof nodeId !== 'string' || !isListOfTexts(formerNodeIds)) {
    throw invalidBackup('its first line is damaged')
  }
  const hasSchema = version === BACKUP_VERSION
  const isCompacted = hasSchema ? compacted === true : version === COMPACTED_VERSION
  return { isCompacted, hasSchema, createdAt, nodeId, formerNodeIds }
}

/**
 * The line between two sections, or after the last one.
 *
 * @throws StoreError `BACKUP_INVALID`
 */
export function parseSectionOrTrailer(line: string): SectionHeader | BackupTrailer {
  const value = parseObject(line)
  if (value === null) throw invalidBackup('a line between its sections is damaged')
  const parsed = value.end === true ? toTrailer(value) : toSectionHeader(value)
  if (parsed === null) throw invalidBackup('a line between its sections is damaged')
  return parsed
}

export function isTrailer(line: SectionHeader | BackupTrailer): line is BackupTrailer {
  return 'maxDeliverySequence' in line
}

/** @throws StoreError `BACKUP_INVALID` */
export function parseNode(line: string): BackupNode {
  const value = parseObject(line)
  const { node, user, sequence } = value ?? {}
  if (!isText(node) || node === '' || !isCount(sequence)) throw invalidBackup(DAMAGED_NODE)
  if (user !== null && !isText(user)) throw invalidBackup(DAMAGED_NODE)
  return { nodeId: node, userId: user, maxSequence: sequence }
}

const DAMAGED_NODE = 'an entry of a node is damaged'

/** @throws StoreError `BACKUP_INVALID` */
export function parseRevocation(line: string): BackupRevocation {
  const { kind, value, revokedAt } = parseObject(line) ?? {}
  const isKind = kind === 'user' || kind === 'device' || kind === 'all'
  if (isKind && isText(value) && isCount(revokedAt)) return { kind, value, revokedAt }
  throw invalidBackup('an entry of a revocation is damaged')
}

/** @throws StoreError `BACKUP_INVALID` */
export function parseDropped(line: string): DroppedOperation {
  const { id, node, sequence, collection, record, wallTime, logical, purged } = parseObject(line) ?? {}
  if (!isSha256(id) || !isText(node) || !isText(collection) || !isText(record)) {
    throw invalidBackup(DAMAGED_DROPPED)
  }
  if (node === '' || collection === '' || record === '' || !isCount(sequence)) {
    throw invalidBackup(DAMAGED_DROPPED)
  }
  if (!isCount(wallTime) || !isCount(logical) || logical > MAX_LOGICAL) throw invalidBackup(DAMAGED_DROPPED)
  return {
    operationId: id,
    nodeId: node,
    sequenceNumber: sequence,
    collection,
    recordId: record,
    wallTime,
    logical,
    isPurged: purged === true,
  }
}

const DAMAGED_DROPPED = 'an entry of a dropped operation is damaged'

/**
 * Makes a `BACKUP_INVALID` error.
 *
 * @param reason the end of a sentence about the backup, without its full stop
 */
export function invalidBackup(reason: string): StoreError {
  return new StoreError('BACKUP_INVALID', `The backup cannot be used: ${reason}. Nothing was restored.`)
}

function toSectionHeader(value: JsonObject): SectionHeader | null {
  const { section, count, bytes, rawBytes, sha256 } = value
  const kind = SECTION_KINDS.find((known) => known === section)
  if (kind === undefined || !isCount(count) || !isCount(bytes) || !isCount(rawBytes)) return null
  const maxBytes = kind === 'schema' ? MAX_SCHEMA_BYTES : MAX_SECTION_BYTES
  if (bytes > maxBytes || rawBytes > maxBytes || !isSha256(sha256)) return null
  return { section: kind, count, bytes, rawBytes, sha256 }
}

function toTrailer(value: JsonObject): BackupTrailer | null {
  const { nodes, revocations, operations, dropped = 0, schema = 0, maxDeliverySequence, sha256 } = value
  if (!isCount(nodes) || !isCount(revocations) || !isCount(operations) || !isCount(dropped)) return null
  if (!isCount(schema) || !isCount(maxDeliverySequence) || !isSha256(sha256)) return null
  return { nodes, revocations, operations, dropped, schema, maxDeliverySequence, sha256 }
}

/** True for text that every store can hold. Checked here, before the first write. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && isStorableText(value)
}

function isListOfTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isSha256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}
