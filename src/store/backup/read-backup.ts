import { type Hash, hash } from 'node:crypto'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { StoreError } from '../../core/errors.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import {
  type BackupHeader,
  type BackupTrailer,
  formatTrailer,
  formatTrailerStart,
  invalidBackup,
  isTrailer,
  MAX_LINE_BYTES,
  parseDropped,
  parseHeader,
  parseNode,
  parseRevocation,
  parseSectionOrTrailer,
  SECTION_KINDS,
  type SectionHeader,
  type SectionKind,
} from './backup-format.ts'
import { parseBackupOperation } from './backup-operation.ts'
import { parseBackupSchema } from './backup-schema.ts'
import { type BackupSource, beginReading } from './backup-source.ts'
import { type BackupBytes, ByteReader } from './byte-reader.ts'
import { type UntakableOperations, UntakableSearch } from './untakable.ts'

const decompress = promisify(gunzip)
const NEWLINE = 0x0a

/** A section whose checksum was verified. */
export interface BackupSection {
  readonly kind: SectionKind
  /** Produced on demand, so they can be iterated only once. */
  readonly lines: Iterable<string>
  /** Bytes of the backup up to the end of the section. */
  readonly bytesRead: number
}

interface ReadBackup extends BackupHeader, BackupTrailer {
  readonly bytes: number
}

export interface BackupSummary extends ReadBackup {
  /** The schemas that its store had recorded; null where it had none, and in backups of early builds. */
  readonly recordedSchema: SchemaDefinition | null
  /** What the server would take from no device at that time; null for none. */
  readonly untakable: UntakableOperations | null
}

/**
 * The sections of a backup, each verified before it is handed out. The whole is verified only when the iteration
 * ends; the return value describes it.
 *
 * @throws StoreError `BACKUP_INVALID`
 */
export async function* readSections(source: BackupBytes): AsyncGenerator<BackupSection, ReadBackup> {
  const reader = new ByteReader(source)
  try {
    const header = parseHeader(await firstLine(reader))
    const counts = { nodes: 0, revocations: 0, operations: 0, dropped: 0, schema: 0 }
    let lastKind = 0
    for (;;) {
      const hash = reader.hash()
      const next = parseSectionOrTrailer(await reader.line(MAX_LINE_BYTES))
      if (isTrailer(next)) {
        if (counts.schema !== (header.hasSchema ? 1 : 0)) throw invalidBackup(WRONG_SCHEMAS)
        await checkTrailer(next, { counts, hash, reader })
        return { ...header, ...next, bytes: reader.bytesRead }
      }
      const kind = SECTION_KINDS.indexOf(next.section)
      if (kind < lastKind) throw invalidBackup('its sections are out of order')
      lastKind = kind
      const raw = await readSection(next, reader)
      counts[next.section] += next.count
      yield { kind: next.section, lines: linesOf(raw), bytesRead: reader.bytesRead }
    }
  } finally {
    await reader.close()
  }
}

const WRONG_SCHEMAS =
  'it does not hold the schema that its first line tells of, or holds one that it does not'

/** Reads the first line. A file without one of our headers is something else, damaged or not. */
async function firstLine(reader: ByteReader): Promise<string> {
  try {
    return await reader.line(MAX_LINE_BYTES)
  } catch (error) {
    const isOfTheBytes = error instanceof StoreError && error.code === 'BACKUP_INVALID'
    if (isOfTheBytes) throw invalidBackup('it is not a backup of kora-server')
    throw error
  }
}

async function readSection(header: SectionHeader, reader: ByteReader): Promise<Buffer> {
  const bytes = await reader.bytes(header.bytes)
  if (hash('sha256', bytes, 'hex') !== header.sha256) {
    throw invalidBackup(`a section of ${header.section} is damaged`)
  }
  const raw = await inflate(bytes, header)
  if (raw.byteLength !== header.rawBytes || countLines(raw) !== header.count) {
    throw invalidBackup(`a section of ${header.section} does not hold what it says`)
  }
  return raw
}

/**
 * The lines of a section, each produced on demand. If they were slices of one text, each would keep all of it
 * alive, and such a text is too large to be moved, and so is collected only with old objects: 60 MB during a
 * restore.
 */
function* linesOf(raw: Buffer): Generator<string> {
  let start = 0
  for (let end = raw.indexOf(NEWLINE); end !== -1; end = raw.indexOf(NEWLINE, start)) {
    yield raw.toString('utf8', start, end)
    start = end + 1
  }
}

/** null when it does not end with a complete line. */
function countLines(raw: Buffer): number | null {
  if (raw.byteLength > 0 && raw[raw.byteLength - 1] !== NEWLINE) return null
  let count = 0
  for (let end = raw.indexOf(NEWLINE); end !== -1; end = raw.indexOf(NEWLINE, end + 1)) count++
  return count
}

async function inflate(bytes: Buffer, { section, rawBytes }: SectionHeader): Promise<Buffer> {
  try {
    return await decompress(bytes, { maxOutputLength: Math.max(1, rawBytes) })
  } catch {
    throw invalidBackup(`a section of ${section} cannot be decompressed`)
  }
}

async function checkTrailer(
  trailer: BackupTrailer,
  found: { counts: { readonly [kind in SectionKind]: number }; hash: Hash; reader: ByteReader },
): Promise<void> {
  const whole = { ...found.counts, maxDeliverySequence: trailer.maxDeliverySequence }
  const sha256OfEarlier = found.hash.copy().digest('hex') // taken before its own line was added
  const sha256 =
    trailer.sha256 === sha256OfEarlier
      ? sha256OfEarlier
      : found.hash.update(formatTrailerStart(whole)).digest('hex')
  const expected = formatTrailer({ ...whole, sha256 })
  if (formatTrailer(trailer) !== expected) throw invalidBackup('its checksum does not fit its content')
  // Compared as text, because the line could be written in more than one way.
  if (found.reader.lastLine !== expected) throw invalidBackup('its last line is damaged')
  if (!(await found.reader.isAtEnd())) throw invalidBackup('something follows its end')
}

/**
 * Reads a backup from end to end, and verifies its checksums and every entry.
 *
 * @param now time of this machine, ms since the epoch
 * @throws StoreError `BACKUP_INVALID`; `INVALID_ARGUMENT` for a source that is not bytes
 */
export async function verifyBackup(
  source: BackupSource,
  onProgress?: (bytesRead: number) => void,
  now: () => number = Date.now,
): Promise<BackupSummary> {
  const sections = readSections(beginReading(source))
  const untakable = new UntakableSearch(now)
  let recordedSchema: SchemaDefinition | null = null
  try {
    for (;;) {
      const next = await sections.next()
      if (next.done) return { ...next.value, recordedSchema, untakable: untakable.found }
      const { kind, lines, bytesRead } = next.value
      if (kind === 'schema') for (const line of lines) recordedSchema = parseBackupSchema(line)
      else if (kind === 'operations')
        for (const line of lines) untakable.look(parseBackupOperation(line).operation)
      else checkLines(kind, lines)
      onProgress?.(bytesRead)
    }
  } finally {
    await sections.return(undefined as never) // closes the source; its result is not used
  }
}

function checkLines(kind: CheckedKind, lines: Iterable<string>): void {
  for (const line of lines) CHECKS[kind](line)
}

type CheckedKind = Exclude<SectionKind, 'schema' | 'operations'>

const CHECKS: { readonly [kind in CheckedKind]: (line: string) => unknown } = {
  nodes: parseNode,
  revocations: parseRevocation,
  dropped: parseDropped,
}
