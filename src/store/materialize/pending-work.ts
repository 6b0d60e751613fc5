import { StoreError } from '../../core/errors.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { SchemaProgress } from '../store.ts'
import type { SchemaChangePlan } from './schema-change.ts'

/** Rows that have yet to be written again: noted in the database, so that the next start continues. */
export interface PendingWork {
  readonly collection: string
  readonly phase: Extract<SchemaProgress['phase'], 'backfill' | 'rebuild'>
  /** True: fold the records again; false: write their rows from the present states. */
  readonly replays: boolean
  /** The last record that is done. */
  readonly doneThrough: number
  readonly recordsDone: number
  /** Number when the work began; null before that. */
  readonly recordsTotal: number | null
}

/** The work on rows that a schema change leaves behind. */
export function workOf({ steps }: Pick<SchemaChangePlan, 'steps'>): PendingWork[] {
  return steps.flatMap((step) => {
    if (step.kind === 'replay') return [newWork(step.collection, 'backfill', true)]
    return step.kind === 'fill-columns' ? [newWork(step.collection, 'backfill', false)] : []
  })
}

/** Work on a collection that has not begun yet. */
export function newWork(collection: string, phase: PendingWork['phase'], replays: boolean): PendingWork {
  return { collection, phase, replays, doneThrough: 0, recordsDone: 0, recordsTotal: null }
}

/** Merges the remaining work of an interrupted change with that of a new one: one entry per collection. */
export function mergeWork(
  left: readonly PendingWork[],
  added: readonly PendingWork[],
  schema: SchemaDefinition,
): PendingWork[] {
  const merged = new Map<string, PendingWork>()
  for (const work of [...left, ...added]) {
    if (!Object.hasOwn(schema.collections, work.collection)) continue
    const earlier = merged.get(work.collection)
    // Both start from the beginning, because the earlier part was done under the earlier schema.
    const replays = work.replays || earlier?.replays === true
    merged.set(work.collection, earlier === undefined ? work : newWork(work.collection, work.phase, replays))
  }
  return [...merged.values()]
}

/** The error for a query of a table whose rows are not complete yet. */
export function stillFilling(collection: string): StoreError {
  return new StoreError(
    'STORE_UNAVAILABLE',
    `The table of "${collection}" is still being filled. Wait for the server's start or for \`kora-server migrate\` to end.`,
  )
}
