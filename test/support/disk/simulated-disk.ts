/** What a process did with its files, or said over a socket. @see disk-shim.c */
export interface DiskEvent {
  readonly kind: 'written' | 'truncated' | 'synced' | 'created' | 'removed' | 'directory' | 'acknowledged'
  /** What the path of the file has after the prefix. */
  readonly name: string
  /** Offset of a write, size of a truncation. */
  readonly number: number
  readonly bytes: Buffer
}

const KINDS: { readonly [letter: string]: DiskEvent['kind'] } = {
  W: 'written',
  T: 'truncated',
  S: 'synced',
  C: 'created',
  U: 'removed',
  D: 'directory',
  A: 'acknowledged',
}
const HEAD_BYTES = 15

/** The events of a journal, in order. */
export function parseDiskJournal(journal: Buffer): DiskEvent[] {
  const events: DiskEvent[] = []
  for (let position = 0; position + HEAD_BYTES <= journal.length; ) {
    const kind = KINDS[String.fromCharCode(journal.readUInt8(position))]
    if (kind === undefined) throw new Error(`No event of a disk journal begins at ${position}`)
    const nameEnd = position + HEAD_BYTES + journal.readUInt16LE(position + 1)
    const end = nameEnd + journal.readUInt32LE(position + 11)
    events.push({
      kind,
      name: journal.toString('latin1', position + HEAD_BYTES, nameEnd),
      number: Number(journal.readBigInt64LE(position + 3)),
      bytes: journal.subarray(nameEnd, end),
    })
    position = end
  }
  return events
}

type Change = { readonly offset: number; readonly bytes: Buffer } | { readonly size: number }

const SECTOR_BYTES = 512

/** The content of one file: what is on the platter, and what was handed to the system since. */
class SimulatedFile {
  readonly #durable = new GrowingBytes()
  #pending: Change[] = []

  change(change: Change): void {
    this.#pending.push(change)
  }

  sync(): void {
    for (const change of this.#pending) this.#durable.apply(change)
    this.#pending = []
  }

  /** What is found after the power came back: of what was not synced, whatever the disk had got to. */
  afterCut(random: () => number): Buffer {
    const content = new GrowingBytes(this.#durable.toBuffer())
    for (const change of survivors(this.#pending, random)) content.apply(change)
    return content.toBuffer()
  }
}

/** In order, or any of them and also parts, or none. */
function survivors(pending: readonly Change[], random: () => number): Change[] {
  const manner = random()
  if (manner < 0.2) return []
  if (manner < 0.5) return pending.slice(0, Math.floor(random() * (pending.length + 1)))
  return pending.flatMap((change) => {
    const fate = random()
    if (fate < 0.35) return []
    if (fate < 0.7 || 'size' in change) return change
    return tornWrite(change.offset, change.bytes, random)
  })
}

function tornWrite(offset: number, bytes: Buffer, random: () => number): Change[] {
  const sectors: Change[] = []
  for (let start = 0; start < bytes.length; ) {
    const end = Math.min(bytes.length, start + SECTOR_BYTES - ((offset + start) % SECTOR_BYTES))
    if (random() < 0.5) sectors.push({ offset: offset + start, bytes: bytes.subarray(start, end) })
    start = end
  }
  return sectors
}

/** Bytes with room to grow, so that appending does not copy each time. */
class GrowingBytes {
  #bytes: Buffer
  #size: number

  constructor(content: Buffer = Buffer.alloc(0)) {
    this.#bytes = Buffer.from(content)
    this.#size = content.length
  }

  apply(change: Change): void {
    if ('size' in change) {
      this.#reserve(change.size)
      if (change.size < this.#size) this.#bytes.fill(0, change.size, this.#size)
      this.#size = change.size
      return
    }
    const end = change.offset + change.bytes.length
    this.#reserve(end)
    change.bytes.copy(this.#bytes, change.offset)
    this.#size = Math.max(this.#size, end)
  }

  toBuffer(): Buffer {
    return this.#bytes.subarray(0, this.#size)
  }

  #reserve(size: number): void {
    if (size <= this.#bytes.length) return
    const larger = Buffer.alloc(Math.max(size, this.#bytes.length * 2))
    this.#bytes.copy(larger, 0, 0, this.#size)
    this.#bytes = larger
  }
}

type NameChange = { readonly name: string; readonly file: SimulatedFile | null }

/**
 * A disk that forgets what was not synced: contents since the last sync of the file, names since the
 * last sync of the directory. The files that hold shared memory are none of it.
 */
export class SimulatedDisk {
  readonly #files = new Map<string, SimulatedFile>()
  readonly #durableNames = new Map<string, SimulatedFile>()
  #pendingNames: NameChange[] = []

  apply({ kind, name, number, bytes }: DiskEvent): void {
    if (name.endsWith('-shm')) return
    if (kind === 'created') this.#rename(name, new SimulatedFile())
    else if (kind === 'removed') this.#rename(name, null)
    else if (kind === 'written') this.#file(name).change({ offset: number, bytes })
    else if (kind === 'truncated') this.#file(name).change({ size: number })
    else if (kind === 'synced') this.#file(name).sync()
    else if (kind === 'directory') this.#syncNames()
  }

  /** Name → content as somebody finds it who turns the machine on again. The disk itself goes on. */
  afterCut(random: () => number): Map<string, Buffer> {
    const names = new Map(this.#durableNames)
    const kept = Math.floor(random() * (this.#pendingNames.length + 1))
    for (const change of this.#pendingNames.slice(0, kept)) keepName(names, change)
    return new Map([...names].map(([name, file]) => [name, file.afterCut(random)]))
  }

  #syncNames(): void {
    for (const change of this.#pendingNames) keepName(this.#durableNames, change)
    this.#pendingNames = []
  }

  #rename(name: string, file: SimulatedFile | null): void {
    keepName(this.#files, { name, file })
    this.#pendingNames.push({ name, file })
  }

  #file(name: string): SimulatedFile {
    const file = this.#files.get(name)
    if (file === undefined) throw new Error(`"${name}" was written before it was created`)
    return file
  }
}

function keepName(names: Map<string, SimulatedFile>, { name, file }: NameChange): void {
  if (file === null) names.delete(name)
  else names.set(name, file)
}
