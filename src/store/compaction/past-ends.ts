/** Where the log ended at a time: what stands up to there has been stored since. */
export interface PastEnd {
  /** ms since the epoch */
  readonly at: number
  /** delivery sequence */
  readonly end: number
}

/** What keeps the notes. */
export interface PastEndStore {
  getMaxDeliverySequence(): Promise<number>
  /** What `writePastEnds` was given last; none at first. */
  readPastEnds(): Promise<readonly PastEnd[]>
  writePastEnds(past: readonly PastEnd[]): Promise<void>
}

/** Between two notes lies no more than this part of their age where one can be spared: they stay few, however far they go back. */
const PRECISION = 1 / 16

/** Notes where the log ends now. */
export async function notePresentEnd(store: PastEndStore, nowMs: number): Promise<readonly PastEnd[]> {
  const past = await readPastEnds(store, nowMs)
  await store.writePastEnds(past)
  return past
}

/** The notes with the present one, which is not stored. */
export async function readPastEnds(
  store: Pick<PastEndStore, 'getMaxDeliverySequence' | 'readPastEnds'>,
  nowMs: number,
): Promise<readonly PastEnd[]> {
  const end = await store.getMaxDeliverySequence()
  return withPresentEnd(await store.readPastEnds(), { at: nowMs, end })
}

/**
 * The notes with the present one, as few as are needed. Those of a clock that was ahead are given up: they would make
 * what came before them look young until that time.
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

/** Up to where everything was stored at that time; 0 when that is not known. */
export function storedThrough(past: readonly PastEnd[], at: number): number {
  return past.findLast((note) => note.at <= at)?.end ?? 0
}

/** The text that the notes are stored as. `parsePastEnds` reads it. */
export function serializePastEnds(past: readonly PastEnd[]): string {
  return past.map(({ at, end }) => `${at}:${end}`).join(' ')
}

/** What cannot be read is not known: then nothing is older than the next note. */
export function parsePastEnds(stored: string | null): readonly PastEnd[] {
  const notes = Array.from((stored ?? '').matchAll(/(\d{1,15}):(\d{1,15})(?: |$)/g))
  return notes.map(([, at, end]) => ({ at: Number(at), end: Number(end) }))
}
