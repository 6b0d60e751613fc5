import type { View } from '../../core/view.ts'
import type { ServerStore } from '../../store/store.ts'
import type { Views } from './views.ts'

/**
 * Fields whose values the feed is known to carry, and from which position on. Before the store began to track a
 * field, here or by another server, the feed may have read entries that do not carry its values. It passes them on
 * as if the records had none, so a view that filters by such a field must have its readers read those entries from
 * the store.
 */
export class ToldFields {
  readonly #store: Pick<ServerStore, 'getMaxDeliverySequence'>
  readonly #views: Pick<Views, 'noteUntold'>
  #names = new Set<string>()

  constructor(store: Pick<ServerStore, 'getMaxDeliverySequence'>, views: Pick<Views, 'noteUntold'>) {
    this.#store = store
    this.#views = views
  }

  /** Called after the store has begun to track the fields of the view, and before the view is opened. */
  async prepare(view: View): Promise<void> {
    const names = this.#names
    const untold = fieldNamesOf(view).filter((name) => !names.has(name))
    if (untold.length === 0) return
    // What is committed from now on is stored, and read, with these fields.
    this.#views.noteUntold(await this.#store.getMaxDeliverySequence())
    for (const name of untold) names.add(name)
  }

  /** Called when another log has replaced the one before: other fields may be tracked in it. */
  forget(): void {
    this.#names = new Set() // a `prepare` that is under way is about the log before, and keeps the old set
  }
}

/** The fields by which the view filters records. */
function fieldNamesOf({ scope, subsets }: View): readonly string[] {
  const filters = [
    ...Object.entries(scope ?? {}),
    ...subsets.map(({ collection, where }) => [collection, where] as const),
  ]
  return filters.flatMap(([collection, filter]) =>
    Object.keys(filter).map((field) => JSON.stringify([collection, field])),
  )
}
