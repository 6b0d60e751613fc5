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

// The limit is 7999 bytes, header included. In bytes, because a payload may hold any text.
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
    while (end < bytes.length && isContinuation(bytes[end])) end-- // not inside of a character
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
  readonly messageNumber: string
}

/** Puts chunked announcements together. Chunks of one server arrive in order; a gap drops the message. */
export class PayloadAssembler {
  readonly #byServer = new Map<string, Assembly>()

  /** @returns the announcement that this notification completes, or null */
  add(text: string): AnnouncedMessage | null {
    const end = text.indexOf('\n')
    const [serverId = '', messageNumber = '', chunk = '', count = '', topic = ''] = text
      .slice(0, end)
      .split(' ')
    const part = text.slice(end + 1)
    if (end < 0 || topic === '') return null // not ours
    if (count === '1') return { serverId, topic, payload: part }
    const known = this.#byServer.get(serverId)
    const assembly = known?.messageNumber === messageNumber ? known : { parts: [], messageNumber }
    this.#byServer.set(serverId, assembly)
    if (assembly.parts.length + 1 !== Number(chunk)) {
      this.#byServer.delete(serverId)
      return null
    }
    assembly.parts.push(part)
    if (chunk !== count) return null
    this.#byServer.delete(serverId)
    return { serverId, topic, payload: assembly.parts.join('') }
  }

  clear(): void {
    this.#byServer.clear()
  }
}
