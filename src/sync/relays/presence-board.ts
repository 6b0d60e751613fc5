import type { Audience } from './audiences.ts'
import {
  AmendedPresenceFrame,
  PresenceFrame,
  type PresenceFrames,
  type StateTexts,
} from './presence-frame.ts'

/** Sent to a receiver in place of the state of an author that it no longer sees. */
export const GONE = 'null'

/**
 * Most entries that an audience may have beside its tenant's frame and still share it; with more, it gets a frame
 * of its own.
 */
const MAX_AMENDMENTS = 16

const NOTHING: StateTexts = new Map()

/**
 * Presence states by receiver: entries for all audiences that share a tag with the author, and entries for single
 * audiences that are told something else or more. Entries for every audience of a tenant would be as many as its
 * authors times its views, and each client may have a view of its own.
 */
export class PresenceBoard {
  readonly #byTag = new Map<string, Map<number, string>>()
  readonly #byAudience = new Map<Audience, Map<number, string>>()

  /** The number of entries. */
  get size(): number {
    let size = 0
    for (const states of this.#byTag.values()) size += states.size
    for (const states of this.#byAudience.values()) size += states.size
    return size
  }

  get tags(): Iterable<string> {
    return this.#byTag.keys()
  }

  /** The audiences that have entries of their own. */
  get audiences(): Iterable<Audience> {
    return this.#byAudience.keys()
  }

  show(tags: readonly string[], id: number, text: string): void {
    for (const tag of tags) setIn(this.#byTag, tag, id, text)
  }

  hide(tags: readonly string[], id: number): void {
    for (const tag of tags) deleteIn(this.#byTag, tag, id)
  }

  /** Enters a state for one audience, where it overrides the state entered for its tags. */
  showTo(audience: Audience, id: number, text: string): void {
    setIn(this.#byAudience, audience, id, text)
  }

  hideFrom(audience: Audience, id: number): void {
    deleteIn(this.#byAudience, audience, id)
  }

  removeAudience(audience: Audience): void {
    this.#byAudience.delete(audience)
  }

  ownOf(audience: Audience): StateTexts {
    return this.#byAudience.get(audience) ?? NOTHING
  }

  under(tag: string): StateTexts {
    return this.#byTag.get(tag) ?? NOTHING
  }
}

/**
 * The frames made from a board, each part once and on demand, because thousands of audiences of a tenant are sent
 * the same. The board must not change meanwhile.
 */
export class BoardFrames {
  readonly #board: PresenceBoard
  readonly #nextMessageId: () => string
  readonly #covered = new Map<StateTexts, Map<StateTexts, boolean>>()
  readonly #commonByTags = new Map<string, StateTexts>()
  readonly #frames = new Map<StateTexts, PresenceFrame>()
  readonly #framesFor = new Map<Audience, PresenceFrames>()
  readonly #departures = new Map<StateTexts, readonly number[]>()

  constructor(board: PresenceBoard, nextMessageId: () => string) {
    this.#board = board
    this.#nextMessageId = nextMessageId
  }

  of(audience: Audience): PresenceFrames {
    const own = this.#board.ownOf(audience)
    return madeOnce(this.#framesFor, audience, () => this.#framesOf(this.#commonOf(audience), own))
  }

  /** The frames for a receiver that is also to be told that these authors have gone, unless they are back. */
  withDepartures(audience: Audience, ids: ReadonlySet<number>): PresenceFrames {
    const common = this.#commonOf(audience)
    const own = new Map(this.#board.ownOf(audience))
    for (const id of ids) if (!common.has(id) && !own.has(id)) own.set(id, GONE)
    return this.#framesOf(common, own)
  }

  /** The authors that have gone, among those that the audience is told of. */
  departuresFor(audience: Audience): readonly number[] {
    const own = this.#departuresIn(this.#board.ownOf(audience))
    const common = this.#departuresIn(this.#commonOf(audience))
    return own.length === 0 ? common : [...common, ...own]
  }

  #departuresIn(states: StateTexts): readonly number[] {
    return madeOnce(this.#departures, states, () =>
      [...states.keys()].filter((id) => states.get(id) === GONE),
    )
  }

  /**
   * The states that the audience is shown by its tags. Most tags add nothing: where each member of a tenant is also
   * granted a part of its own, all of them are still shown the same.
   */
  #commonOf({ tags }: Audience): StateTexts {
    const largestFirst = tags.toSorted((a, b) => this.#board.under(b).size - this.#board.under(a).size)
    const needed: string[] = []
    for (const tag of largestFirst) {
      const states = this.#board.under(tag)
      if (!needed.some((other) => this.#covers(this.#board.under(other), states))) needed.push(tag)
    }
    const found = needed.map((tag) => this.#board.under(tag))
    if (found.length <= 1) return found[0] ?? NOTHING
    return madeOnce(this.#commonByTags, needed.toSorted().join(' '), () => {
      return new Map(found.flatMap((states) => [...states]))
    })
  }

  #covers(all: StateTexts, some: StateTexts): boolean {
    const known = madeOnce(this.#covered, all, () => new Map<StateTexts, boolean>())
    return madeOnce(known, some, () => [...some.keys()].every((id) => all.has(id)))
  }

  #framesOf(common: StateTexts, own: StateTexts): PresenceFrames {
    if (own.size === 0) return this.#frameOf(common)
    if (own.size <= MAX_AMENDMENTS && common.size > MAX_AMENDMENTS)
      return new AmendedPresenceFrame(this.#frameOf(common), own)
    return new PresenceFrame(this.#nextMessageId(), new Map([...common, ...own]))
  }

  #frameOf(states: StateTexts): PresenceFrame {
    return madeOnce(this.#frames, states, () => new PresenceFrame(this.#nextMessageId(), states))
  }
}

function madeOnce<Key, Value>(made: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = made.get(key)
  if (known !== undefined) return known
  const value = make()
  made.set(key, value)
  return value
}

function setIn<Key>(maps: Map<Key, Map<number, string>>, key: Key, id: number, text: string): void {
  const map = maps.get(key)
  if (map === undefined) maps.set(key, new Map([[id, text]]))
  else map.set(id, text)
}

/** Removes an entry, and its map once that is empty. */
function deleteIn<Key>(maps: Map<Key, Map<number, string>>, key: Key, id: number): void {
  const map = maps.get(key)
  map?.delete(id)
  if (map?.size === 0) maps.delete(key)
}
