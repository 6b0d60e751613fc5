import type { Frame } from '../../protocol/frame.ts'

/** Presence id → JSON text of the state, or `null`. */
export type StateTexts = ReadonlyMap<number, string>

/** An `awareness-update` for many receivers: each gets all of it, or all but its own entry. */
export interface PresenceFrames {
  /** @returns null when there is nothing in it except the receiver's own entry */
  for(ownId: number | undefined): Frame | null
  /** Approximate length of a frame. */
  readonly byteLength: number
}

/**
 * One `awareness-update` as bytes. Leaving out an entry copies the bytes without encoding them again, so a room in
 * which everyone moves costs no more encoding than one in which one does.
 */
export class PresenceFrame implements PresenceFrames {
  /** Without its end, and with a comma after each entry, so that any entry can be cut out. */
  readonly #bytes: Buffer
  /** Presence id → position of its entry. */
  readonly #spans = new Map<number, { readonly start: number; readonly end: number }>()
  #whole: Frame | null = null

  constructor(messageId: string, states: StateTexts) {
    const [onlyId] = states.size === 1 ? states.keys() : []
    const head = `{"type":"awareness-update","messageId":${JSON.stringify(messageId)},"clientId":${onlyId ?? 0},"states":{`
    const entries = [...states].map(entryOf)
    this.#bytes = Buffer.from(head + entries.join(''))
    let start = Buffer.byteLength(head)
    let index = 0
    for (const id of states.keys()) {
      const end = start + Buffer.byteLength(entries[index] ?? '')
      this.#spans.set(id, { start, end })
      start = end
      index++
    }
  }

  for(ownId: number | undefined): Frame | null {
    if (ownId !== undefined && this.#spans.has(ownId)) {
      return this.#spans.size === 1 ? null : this.replacing(new Set([ownId]))
    }
    if (this.#spans.size === 0) return null
    this.#whole ??= this.replacing(new Set())
    return this.#whole
  }

  get byteLength(): number {
    return this.#bytes.byteLength
  }

  has(id: number): boolean {
    return this.#spans.has(id)
  }

  /** All entries but these, followed by others. At least one must be left. */
  replacing(ids: ReadonlySet<number>, entries = ''): Frame {
    const cuts = [...ids].flatMap((id) => this.#spans.get(id) ?? []).sort((a, b) => a.start - b.start)
    const pieces: Buffer[] = []
    let start = 0
    for (const cut of cuts) {
      pieces.push(this.#bytes.subarray(start, cut.start))
      start = cut.end
    }
    const bytes = Buffer.concat([...pieces, this.#bytes.subarray(start), Buffer.from(`${entries}}`)])
    bytes[bytes.length - 2] = CLOSING_BRACE // in place of the last comma
    return { isBinary: false, bytes }
  }
}

/**
 * A frame in which a few entries are replaced or added. It reuses the bytes of the original frame, so only those
 * few are encoded.
 */
export class AmendedPresenceFrame implements PresenceFrames {
  readonly #frame: PresenceFrame
  readonly #states: StateTexts
  #whole: Frame | null = null

  /** @param states fewer than the frame has, so that it leaves something for every receiver */
  constructor(frame: PresenceFrame, states: StateTexts) {
    this.#frame = frame
    this.#states = states
  }

  for(ownId: number | undefined): Frame {
    if (ownId !== undefined && (this.#states.has(ownId) || this.#frame.has(ownId))) {
      return this.#amended(new Set([...this.#states.keys(), ownId]), ownId)
    }
    this.#whole ??= this.#amended(new Set(this.#states.keys()))
    return this.#whole
  }

  /** The length of the original frame: the few entries make no difference. */
  get byteLength(): number {
    return this.#frame.byteLength
  }

  #amended(replaced: ReadonlySet<number>, ownId?: number): Frame {
    const entries = [...this.#states].filter(([id]) => id !== ownId).map(entryOf)
    return this.#frame.replacing(replaced, entries.join(''))
  }
}

/** The entry, followed by a comma. */
function entryOf([id, text]: readonly [id: number, text: string]): string {
  return `"${id}":${text},`
}

const CLOSING_BRACE = 0x7d
