import type { AuthConfig } from '../auth/auth-config.ts'
import { scopeFieldsOfAuth } from '../auth/create-auth-provider.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import { mergedSince } from '../store/compaction/merged-since.ts'
import { type EarlyValues, findEarlyValues } from '../store/materialize/early-values.ts'
import { type NeededField, neededSince } from '../store/materialize/needed-since.ts'
import type { SchemaPlan, ServerStore, SetSchemaOptions } from '../store/store.ts'
import { formatQuantity } from './output/format.ts'

/** The parts of a configuration that the store has to match. */
export interface StoreNeeds {
  /** null: none is configured, and the tables stay as they are */
  readonly schema: SchemaDefinition | null
  /** Its scopes name fields by which the log is indexed. */
  readonly auth: AuthConfig
}

export interface StorePlan extends SchemaPlan {
  /** True when the tables of the log differ from those of this release. */
  readonly changesLayout: boolean
}

/** Creates tables, and indexes for scopes, before the first client is let in. Costs nothing when they exist. */
export async function prepareStore(
  store: ServerStore,
  needs: StoreNeeds,
  options: SetSchemaOptions = {},
): Promise<void> {
  if (needs.schema !== null) await store.setSchema(needs.schema, options)
  for (const { collection, field } of scopeFieldsOf(needs)) {
    await store.trackScopeField(collection, field, { ...options, isGranted: true })
  }
}

/** Plans what `prepareStore` would do, and the changes that opening the store for writing would make. */
export async function planStore(store: ServerStore, needs: StoreNeeds): Promise<StorePlan> {
  const layout = await store.planLayout()
  const tables = needs.schema === null ? NO_TABLES : await store.planSchema(needs.schema)
  const scopes: ScopeField[] = []
  for (const field of scopeFieldsOf(needs)) {
    if (!(await store.isScopeFieldTracked(field.collection, field.field))) scopes.push(field)
  }
  return {
    isUpToDate: layout.length === 0 && tables.isUpToDate && scopes.length === 0,
    statements: [
      ...layout,
      ...tables.statements,
      ...scopes.map((scope) => `-- index the operations of "${scope.collection}" ${describeField(scope)}`),
    ],
    changes: [
      ...tables.changes,
      ...(await findNeededSince(store, needs)).map(describeNeeded),
      ...(await findWrittenEarly(store, needs)).map(describeEarly),
      ...(await findMergedSince(store, needs)),
      ...scopes.map((scope) => ({
        collection: scope.collection,
        change: `operations indexed ${describeField(scope)}`,
      })),
    ],
    changesLayout: layout.length > 0,
  }
}

/** Fields that `prepareStore` is about to require of records that may lack them. Empty as long as nothing is stored. */
export async function findNeededSince(
  store: ServerStore,
  { schema }: StoreNeeds,
): Promise<readonly NeededField[]> {
  const earlier = store.getSchema()
  const fields = earlier === null || schema === null ? [] : neededSince(earlier, schema)
  return fields.length > 0 && (await store.getMaxDeliverySequence()) > 0 ? fields : []
}

function describeNeeded({ collection, field }: NeededField): SchemaPlan['changes'][number] {
  const change =
    `field "${field}" is required now and has no default: new devices stop at records that were stored ` +
    'without it. Give it a default, or make it optional'
  return { collection, change }
}

/** Stored values that the tables planned by `prepareStore` have no room for. Reads the log where there may be some. */
export async function findWrittenEarly(
  store: ServerStore,
  { schema }: StoreNeeds,
): Promise<readonly EarlyValues[]> {
  if (schema === null || (await store.getMaxDeliverySequence()) === 0) return []
  return findEarlyValues(store, store.getSchema(), schema)
}

function describeEarly({
  collection,
  field,
  expectation,
  operations,
}: EarlyValues): SchemaPlan['changes'][number] {
  const change =
    `field "${field}" must be ${expectation}, which it is not in ${formatQuantity(operations, 'operation')} ` +
    'of the log: new devices stop there. Choose another name for it, or a form that they fit'
  return { collection, change }
}

/** Changes in how fields are merged; empty as long as nothing was dropped from the log. */
async function findMergedSince(store: ServerStore, { schema }: StoreNeeds): Promise<SchemaPlan['changes']> {
  const earlier = store.getSchema()
  const changes = earlier === null || schema === null ? [] : mergedSince(earlier, schema)
  return changes.length > 0 && (await store.countDropped()) > 0 ? changes : []
}

interface ScopeField {
  readonly collection: string
  /** null: the collection as a whole */
  readonly field: string | null
}

/** The fields by which the log is indexed: those in which schema and scopes filter, each once. */
function scopeFieldsOf({ schema, auth }: StoreNeeds): ScopeField[] {
  const fields = new Map<string, ScopeField>()
  const add = (collection: string, field: string | null): void =>
    void fields.set(JSON.stringify([collection, field]), { collection, field })
  for (const [collection, { scope }] of Object.entries(schema?.collections ?? {})) {
    for (const field of scope) add(collection, field)
  }
  for (const [collection, own] of Object.entries(scopeFieldsOfAuth(auth))) {
    for (const field of own.length === 0 ? [null] : own) add(collection, field)
  }
  return [...fields.values()]
}

function describeField({ field }: ScopeField): string {
  return field === null ? 'as a whole, for scopes' : `by "${field}", for scopes`
}

const NO_TABLES: SchemaPlan = { isUpToDate: true, statements: [], changes: [] }

/** Describes a plan that changes something: one line per change. */
export function describePlan({ changes, changesLayout, statements }: StorePlan): string[] {
  const lines = changes.map(({ collection, change }) => `${collection}: ${change}`)
  if (changesLayout) lines.unshift('the tables of the log: made as this release needs them')
  if (lines.length > 0) return lines
  return [
    statements.length > 0
      ? 'a change of the schema that was interrupted: goes on'
      : 'the schema is noted; no table changes',
  ]
}
