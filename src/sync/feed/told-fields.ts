import type { View } from '../../core/view.ts'
import type { ServerStore } from '../../store/store.ts'
import type { Views } from './views.ts'

/**
 * The fields of which it is known from where on the feed tells what a record holds in them. It may have read entries
 * before the store was asked to track a field, here or by another server: these it passes on as if they held nothing.
 * A view that is found by such a field must not wait for them, and has its readers read them from the store.
 */
export class ToldFields {
  readonly #store: Pick<ServerStore, 'getMaxDeliverySequence'>
  readonly #views: Pick<Views, 'noteUntold'>
  #names = new Set<string>()

  constructor(store: Pick<ServerStore, 'getMaxDeliverySequence'>, views: Pick<Views, 'noteUntold'>) {
    this.#store = store
    this.#views = views
  }

  /** Called when the store tracks the fields of the view, and before that is opened. */
  async prepare(view: View): Promise<void> {
    const names = this.#names
    const untold = fieldNamesOf(view).filter((name) => !names.has(name))
    if (untold.length === 0) return
    // What is committed from now on is stored, and read, with these fields.
    this.#views.noteUntold(await this.#store.getMaxDeliverySequence())
    for (const name of untold) names.add(name)
  }

  /** Another log has taken the place of the one before, in which other fields may be tracked. */
  forget(): void {
    this.#names = new Set() // what is asked about now is of the log before
  }
}

/** What decides of a record whether the view shows it. */
function fieldNamesOf({ scope, subsets }: View): readonly string[] {
  const filters = [
    ...Object.entries(scope ?? {}),
    ...subsets.map(({ collection, where }) => [collection, where] as const),
  ]
  return filters.flatMap(([collection, filter]) =>
    Object.keys(filter).map((field) => JSON.stringify([collection, field])),
  )
}
