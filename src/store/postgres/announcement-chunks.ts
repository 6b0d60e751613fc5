import { protocolError } from '../../protocol/message-reader.ts'

/*
 * One announcement is one or several notifications, each a text of at most 8000 bytes:
 *
 *   <server id> <message number> <chunk> <chunks> <topic>\n<part of the payload>
 *
 * PostgreSQL drops a notification that repeats another of the same transaction; the numbers make
 * each one differ.
 */

/** A complete announcement. */
export interface AnnouncedMessage {
  readonly serverId: string
  readonly topic: string
  readonly payload: string
}

// The limit is 7999 bytes, header included. Counted in bytes, because a payload may contain any text.
const MAX_CHUNK_BYTES = 7600

/** @param head server id and message number */
export function chunkPayload(head: string, topic: string, payload: string): string[] {
  const parts = splitUtf8(payload)
  return parts.map((part, index) => `${head} ${index + 1} ${parts.length} ${topic}\n${part}`)
}

function splitUtf8(text: string): string[] {
  const bytes = Buffer.from(text)
  if (bytes.length <= MAX_CHUNK_BYTES) return [text]
  const parts: string[] = []
  for (let start = 0; start < bytes.length; ) {
    let end = Math.min(start + MAX_CHUNK_BYTES, bytes.length)
    while (end < bytes.length && isContinuation(bytes[end])) end-- // never within a character
    parts.push(bytes.toString('utf8', start, end))
    start = end
  }
  return parts
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80
}

interface Assembly {
  readonly parts: string[]
  readonly messageNumber: number
  length: number
}

/** Characters of announcements whose last chunk is missing; above it, the oldest are dropped. */
const MAX_WAITING_LENGTH = 64 * 1024 * 1024

/**
 * Assembles chunked announcements. Chunks of one server arrive in order; a gap drops the announcement. One that is
 * never completed, perhaps because its server has gone, is kept only while there is room.
 */
export class PayloadAssembler {
  /** Announcements that are not complete yet, the oldest first. */
  readonly #byServer = new Map<string, Assembly>()
  #waitingLength = 0

  /**
   * @returns the announcement that this notification completes, or null
   * @throws ProtocolError for a text that is not part of an announcement
   */
  add(text: string): AnnouncedMessage | null {
    const { serverId, messageNumber, chunk, chunks, topic, part } = parseChunk(text)
    if (chunks === 1) return { serverId, topic, payload: part }
    const assembly = this.#take(serverId, messageNumber)
    if (assembly.parts.length + 1 !== chunk) return null
    assembly.parts.push(part)
    assembly.length += part.length
    if (chunk === chunks) return { serverId, topic, payload: assembly.parts.join('') }
    this.#byServer.set(serverId, assembly)
    this.#waitingLength += assembly.length
    this.#dropOldest()
    return null
  }

  clear(): void {
    this.#byServer.clear()
    this.#waitingLength = 0
  }

  /** Removes the collected part of an announcement; an earlier one that the server had begun is dropped. */
  #take(serverId: string, messageNumber: number): Assembly {
    const known = this.#byServer.get(serverId)
    this.#byServer.delete(serverId)
    this.#waitingLength -= known?.length ?? 0
    return known?.messageNumber === messageNumber ? known : { parts: [], messageNumber, length: 0 }
  }

  #dropOldest(): void {
    for (const [serverId, { length }] of this.#byServer) {
      if (this.#waitingLength <= MAX_WAITING_LENGTH) return
      this.#byServer.delete(serverId)
      this.#waitingLength -= length
    }
  }
}

const HEADER = /^(\S+) (\d+) (\d+) (\d+) (\S+)\n/

function parseChunk(text: string) {
  const [header, serverId = '', messageNumber, chunk, chunks, topic = ''] = HEADER.exec(text) ?? []
  if (header === undefined) throw protocolError('A notification is not part of an announcement.')
  return {
    serverId,
    messageNumber: Number(messageNumber),
    chunk: Number(chunk),
    chunks: Number(chunks),
    topic,
    part: text.slice(header.length),
  }
}
