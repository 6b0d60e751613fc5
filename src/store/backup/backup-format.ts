import { createHash } from 'node:crypto'
import { StoreError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import { parseOperation } from '../../protocol/parse-operation.ts'

/*
 * A backup is a text of lines, each a JSON object:
 *
 *   {"format":"kora-server-backup","version":1,"createdAt":…,"nodes":n,"operations":m,…}
 *   {"node":…,"user":…,"sequence":…}       n lines: who is bound to whom, and the version vector
 *   {"id":…,"nodeId":…,…}                  m lines: the operations in delivery order
 *   {"sha256":…}                           over every byte before this line
 *
 * It holds what was said to the server, not what the server made of it: records, tables, snapshots
 * and delivery sequences follow from the operations.
 */

const FORMAT = 'kora-server-backup'
const VERSION = 1

export interface BackupNode {
  readonly nodeId: string
  readonly userId: string | null
  /** Its entry of the version vector. */
  readonly maxSequence: number
}

export interface BackupSource {
  readonly createdAtMs: number
  readonly maxDeliverySequence: number
  readonly operationCount: number
  readonly nodes: readonly BackupNode[]
  /** Wire JSON of the operations in delivery order. */
  readonly operations: Iterable<string>
}

export interface BackedUpOperation {
  readonly operation: Operation
  readonly wireJson: string
}

export interface Backup {
  /** Of the store that it was made of, at that time. */
  readonly maxDeliverySequence: number
  readonly nodes: readonly BackupNode[]
  readonly operations: readonly BackedUpOperation[]
}

/** Writes a backup, in pieces of some hundred kilobytes. */
export function* writeBackup(source: BackupSource): Generator<Uint8Array> {
  const hash = createHash('sha256')
  let lines: string[] = []
  let length = 0
  const take = (): Uint8Array => {
    const piece = Buffer.from(`${lines.join('\n')}\n`)
    hash.update(piece)
    lines = []
    length = 0
    return piece
  }
  for (const line of linesOf(source)) {
    lines.push(line)
    length += line.length
    if (length >= PIECE_LENGTH) yield take()
  }
  if (lines.length > 0) yield take()
  yield Buffer.from(`{"sha256":"${hash.digest('hex')}"}\n`)
}

const PIECE_LENGTH = 256 * 1024

function* linesOf({ createdAtMs, maxDeliverySequence, operationCount, nodes, operations }: BackupSource) {
  yield JSON.stringify({
    format: FORMAT,
    version: VERSION,
    createdAt: new Date(createdAtMs).toISOString(),
    nodes: nodes.length,
    operations: operationCount,
    maxDeliverySequence,
  })
  for (const { nodeId, userId, maxSequence } of nodes) {
    yield JSON.stringify({ node: nodeId, user: userId, sequence: maxSequence })
  }
  yield* operations
}

// An operation is as large as it was accepted; the limit for new ones may have been lowered since.
const MAX_OPERATION_BYTES = 1024 ** 3

/**
 * Reads a backup, every line of it, before anything of it may be used.
 *
 * @throws StoreError `BACKUP_INVALID`
 */
export function readBackup(data: Uint8Array): Backup {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const body = verifiedBody(bytes)
  const lines = body.toString('utf8').split('\n')
  const header = readHeader(parseLine(lines[0] ?? '', 1))
  if (lines.length !== 1 + header.nodes + header.operations) {
    throw invalid(`it should hold ${header.nodes + header.operations} entries and has ${lines.length - 1}`)
  }
  return {
    maxDeliverySequence: header.maxDeliverySequence,
    nodes: lines.slice(1, 1 + header.nodes).map((line, index) => readNode(parseLine(line, index + 2))),
    operations: lines
      .slice(1 + header.nodes)
      .map((line, index) => readOperation(line, index + 2 + header.nodes)),
  }
}

/** Everything before the last line, which holds its hash. */
function verifiedBody(bytes: Buffer): Buffer {
  const end = bytes.at(-1) === NEWLINE ? bytes.length - 1 : bytes.length
  const start = bytes.lastIndexOf(NEWLINE, end - 1) + 1
  if (!bytes.subarray(0, 64).includes(`"format":"${FORMAT}"`))
    throw invalid('it is not a backup of kora-server')
  const trailer = /^\{"sha256":"([0-9a-f]{64})"\}$/.exec(
    bytes.toString('utf8', start, Math.min(end, start + 100)),
  )
  if (trailer === null) throw invalid('its end is missing')
  const hash = createHash('sha256').update(bytes.subarray(0, start)).digest('hex')
  if (hash !== trailer[1]) throw invalid('its checksum does not fit its content')
  return bytes.subarray(0, start - 1)
}

const NEWLINE = 0x0a

interface Header {
  readonly nodes: number
  readonly operations: number
  readonly maxDeliverySequence: number
}

function readHeader(header: JsonObject): Header {
  const { version } = header
  if (!isCount(version)) throw invalid('it has no version')
  if (version > VERSION) {
    throw invalid(`it is of version ${version}, and this release reads up to ${VERSION}; use a later release`)
  }
  const { nodes, operations, maxDeliverySequence } = header
  if (!isCount(nodes) || !isCount(operations) || !isCount(maxDeliverySequence)) {
    throw invalid('its first line is not complete')
  }
  return { nodes, operations, maxDeliverySequence }
}

function readNode({ node, user, sequence }: JsonObject): BackupNode {
  if (
    typeof node !== 'string' ||
    node === '' ||
    !(user === null || typeof user === 'string') ||
    !isCount(sequence)
  ) {
    throw invalid('an entry of a node is not complete')
  }
  return { nodeId: node, userId: user, maxSequence: sequence }
}

function readOperation(line: string, number: number): BackedUpOperation {
  const received = parseOperation(parseLine(line, number), MAX_OPERATION_BYTES)
  if (!received.ok) throw invalid(`line ${number} is not an operation: ${received.refusal.message}`)
  return { operation: received.operation, wireJson: received.wireJson }
}

type JsonObject = { readonly [key: string]: unknown }

function parseLine(line: string, number: number): JsonObject {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null) return value as JsonObject // any object has this shape
  } catch {
    // The same answer as for a line that holds no object.
  }
  throw invalid(`line ${number} is damaged`)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function invalid(reason: string): StoreError {
  return new StoreError('BACKUP_INVALID', `The backup cannot be used: ${reason}. Nothing was restored.`)
}
