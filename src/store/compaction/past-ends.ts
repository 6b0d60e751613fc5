/** Where the log ended at a certain time: everything up to there was stored by then. */
export interface PastEnd {
  /** ms since the epoch */
  readonly at: number
  /** delivery sequence */
  readonly end: number
}

/** The store of these notes. */
export interface PastEndStore {
  getMaxDeliverySequence(): Promise<number>
  /** The last notes given to `writePastEnds`; none at first. */
  readPastEnds(): Promise<readonly PastEnd[]>
  writePastEnds(past: readonly PastEnd[]): Promise<void>
}

/**
 * Notes may lie apart by at most this fraction of their age, if one can be spared: so they stay few, however far
 * back they reach.
 */
const PRECISION = 1 / 16

/** Notes the present end of the log. */
export async function notePresentEnd(store: PastEndStore, nowMs: number): Promise<readonly PastEnd[]> {
  const past = await readPastEnds(store, nowMs)
  await store.writePastEnds(past)
  return past
}

/** The notes with the present end added, without storing it. */
export async function readPastEnds(
  store: Pick<PastEndStore, 'getMaxDeliverySequence' | 'readPastEnds'>,
  nowMs: number,
): Promise<readonly PastEnd[]> {
  const end = await store.getMaxDeliverySequence()
  return withPresentEnd(await store.readPastEnds(), { at: nowMs, end })
}

/**
 * Adds the present end to the notes, and keeps as few as needed. Notes of a clock that was ahead are dropped: until
 * that time, they would make earlier entries look young.
 *
 * @param past oldest first
 */
export function withPresentEnd(past: readonly PastEnd[], present: PastEnd): readonly PastEnd[] {
  const earlier = past.filter(({ at }) => at < present.at).reverse()
  const kept = [present]
  let newer = present
  earlier.forEach((note, index) => {
    const older = earlier[index + 1]
    const precision = (present.at - newer.at) * PRECISION
    if (older !== undefined && newer.at - older.at < precision) return
    kept.push(note)
    newer = note
  })
  return kept.reverse()
}

/** Everything up to here was stored by that time; 0 when unknown. */
export function storedThrough(past: readonly PastEnd[], at: number): number {
  return past.findLast((note) => note.at <= at)?.end ?? 0
}

/** The text form in which the notes are stored, read by `parsePastEnds`. */
export function serializePastEnds(past: readonly PastEnd[]): string {
  return past.map(({ at, end }) => `${at}:${end}`).join(' ')
}

/** Ignores whatever cannot be read: then nothing counts as older than the next note. */
export function parsePastEnds(stored: string | null): readonly PastEnd[] {
  const notes = Array.from((stored ?? '').matchAll(/(\d{1,15}):(\d{1,15})(?: |$)/g))
  return notes.map(([, at, end]) => ({ at: Number(at), end: Number(end) }))
}
