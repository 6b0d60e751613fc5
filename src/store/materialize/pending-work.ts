import { StoreError } from '../../core/errors.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { SchemaProgress } from '../store.ts'
import type { SchemaChangePlan } from './schema-change.ts'

/** Rows that are still to be written again: kept in the database, so that a next start goes on. */
export interface PendingWork {
  readonly collection: string
  readonly phase: Extract<SchemaProgress['phase'], 'backfill' | 'rebuild'>
  /** Fold the records again; else write their rows from the states there are. */
  readonly replays: boolean
  /** The last record that is done. */
  readonly doneThrough: number
  readonly recordsDone: number
  /** When it began; null before that. */
  readonly recordsTotal: number | null
}

/** The work that a schema change leaves for the rows of its collections. */
export function workOf({ steps }: Pick<SchemaChangePlan, 'steps'>): PendingWork[] {
  return steps.flatMap((step) => {
    if (step.kind === 'replay') return [newWork(step.collection, 'backfill', true)]
    return step.kind === 'fill-columns' ? [newWork(step.collection, 'backfill', false)] : []
  })
}

/** Work on a collection that has not begun. */
export function newWork(collection: string, phase: PendingWork['phase'], replays: boolean): PendingWork {
  return { collection, phase, replays, doneThrough: 0, recordsDone: 0, recordsTotal: null }
}

/** What an interrupted change has left to do, and what a new one adds: each collection once. */
export function mergeWork(
  left: readonly PendingWork[],
  added: readonly PendingWork[],
  schema: SchemaDefinition,
): PendingWork[] {
  const merged = new Map<string, PendingWork>()
  for (const work of [...left, ...added]) {
    if (!Object.hasOwn(schema.collections, work.collection)) continue
    const earlier = merged.get(work.collection)
    // Both from the start: the earlier part was done under the earlier schema.
    const replays = work.replays || earlier?.replays === true
    merged.set(work.collection, earlier === undefined ? work : newWork(work.collection, work.phase, replays))
  }
  return [...merged.values()]
}

/** For who asks a table whose rows are not all there. */
export function stillFilling(collection: string): StoreError {
  return new StoreError(
    'STORE_UNAVAILABLE',
    `The table of "${collection}" is still being filled. Wait for the server's start or for \`kora-server migrate\` to end.`,
  )
}
