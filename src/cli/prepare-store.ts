import type { SchemaDefinition } from '../core/schema/types.ts'
import type { SchemaPlan, ServerStore } from '../store/store.ts'

/** What of a configuration the store has to be brought to. */
export interface StoreNeeds {
  /** null: none is configured, and the tables stay as they are */
  readonly schema: SchemaDefinition | null
}

export interface StorePlan extends SchemaPlan {
  /** True when the tables of the log are not those of this release. */
  readonly changesLayout: boolean
}

/** What a start would do to the store before the first client is let in. */
export async function planStore(store: ServerStore, { schema }: StoreNeeds): Promise<StorePlan> {
  const layout = await store.planLayout()
  const tables = schema === null ? NO_TABLES : await store.planSchema(schema)
  return {
    isUpToDate: layout.length === 0 && tables.isUpToDate,
    statements: [...layout, ...tables.statements],
    changes: tables.changes,
    changesLayout: layout.length > 0,
  }
}

const NO_TABLES: SchemaPlan = { isUpToDate: true, statements: [], changes: [] }

/** A plan that has something to do, for people: a line for each thing that changes. */
export function describePlan({ changes, changesLayout }: StorePlan): string[] {
  const lines = changes.map(({ collection, change }) => `${collection}: ${change}`)
  if (changesLayout) lines.unshift('the tables of the log: made as this release needs them')
  return lines.length > 0 ? lines : ['a change of the schema that was interrupted: goes on']
}
