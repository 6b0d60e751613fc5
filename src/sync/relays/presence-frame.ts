import type { Frame } from '../../protocol/frame.ts'

/** Presence id → JSON text of the state, or `null`. */
export type StateTexts = ReadonlyMap<number, string>

/**
 * One `awareness-update` as bytes, for many receivers: each gets all of it, or all but its own
 * entry. What leaves an entry out is copied and not encoded again, so that a room in which
 * everybody moves costs no more encoding than one in which one does.
 */
export class PresenceFrame {
  readonly #bytes: Buffer
  /** Presence id → where its entry stands. */
  readonly #spans = new Map<number, { readonly start: number; readonly end: number }>()
  readonly #whole: Frame

  constructor(messageId: string, states: StateTexts) {
    const [onlyId] = states.size === 1 ? states.keys() : []
    const head = `{"type":"awareness-update","messageId":${JSON.stringify(messageId)},"clientId":${onlyId ?? 0},"states":{`
    const entries = [...states].map(([id, text]) => `"${id}":${text}`)
    this.#bytes = Buffer.from(`${head}${entries.join(',')}}}`)
    let start = Buffer.byteLength(head)
    let index = 0
    for (const id of states.keys()) {
      const end = start + Buffer.byteLength(entries[index] ?? '')
      this.#spans.set(id, { start, end })
      start = end + 1 // the comma
      index++
    }
    this.#whole = { isBinary: false, bytes: this.#bytes }
  }

  /** @returns null when there is nothing in it but the receiver's own entry */
  for(ownId: number | undefined): Frame | null {
    const span = ownId === undefined ? undefined : this.#spans.get(ownId)
    if (span === undefined) return this.#spans.size === 0 ? null : this.#whole
    if (this.#spans.size === 1) return null
    const isLast = this.#bytes[span.end] !== COMMA
    const before = this.#bytes.subarray(0, isLast ? span.start - 1 : span.start)
    const after = this.#bytes.subarray(isLast ? span.end : span.end + 1)
    return { isBinary: false, bytes: Buffer.concat([before, after]) }
  }
}

const COMMA = 0x2c
