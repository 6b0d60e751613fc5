import { ownValue } from '../../core/own-property.ts'
import { MAX_FIELDS } from '../../core/schema/parse-collection.ts'
import { safeRecord } from '../../core/schema/plain-object.ts'
import type { CollectionDefinition, FieldDescriptor, SchemaDefinition } from '../../core/schema/types.ts'
import { fieldNames, keptFields, MAX_VERSIONS, remembering, type VersionFields } from './earlier-fields.ts'
import { refuseFieldChange, type SchemaRefusal } from './field-change.ts'
import {
  assertNothingRefused,
  keptTables,
  planSchemaChange,
  type SchemaChangePlan,
  type SchemaStep,
} from './schema-change.ts'

/** The steps for the tables, and the schema to be recorded afterwards. */
export type SchemaJoin = Pick<SchemaChangePlan, 'steps' | 'materialized'>

/**
 * Joins what the store of a backup has recorded of its schemas with what this one has recorded, so that it is known
 * here too which fields devices of those versions have columns for, and which fields the operations of the backup
 * have.
 *
 * A store without a recorded schema adopts all of it. Any other keeps its own schema and what it remembers of
 * earlier ones; whatever only the backup knows is remembered as if this store had had that schema before its own.
 *
 * @param own schema recorded by this store; null for a store without tables
 * @param other schema, of the backup
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED` where the one could not have followed the other
 */
export function joinSchemas(own: SchemaDefinition | null, other: SchemaDefinition): SchemaJoin {
  const join = own === null ? takeOver(other) : planJoin(own, other)
  assertNothingRefused(join, 'The schema here does not fit the data of the backup, and nothing was restored')
  return join
}

type Join = SchemaJoin & Pick<SchemaChangePlan, 'refusals'>

/** The schema with the fields of earlier ones as its own, as the tables have them. */
export function asTablesAre(schema: SchemaDefinition): SchemaDefinition {
  const collections = keptTables(schema).map((name) => {
    const definition = ownValue(schema.collections, name) ?? FORGOTTEN_COLLECTION
    return [name, { ...definition, fields: safeRecord(Object.entries(keptFields(schema, name))) }] as const
  })
  return { ...remembering(schema, { retired: {}, otherVersions: {} }), collections: safeRecord(collections) }
}

const FORGOTTEN_COLLECTION: CollectionDefinition = {
  fields: {},
  indexes: [],
  constraints: [],
  resolvers: {},
  scope: [],
  stateMachine: undefined,
}

function takeOver(other: SchemaDefinition): Join {
  const { steps, refusals } = planSchemaChange(null, other)
  const tables = planSchemaChange(null, asTablesAre(other)).steps.filter(makesRoom)
  return { steps: [...tables, ...steps.filter((step) => !makesRoom(step))], refusals, materialized: other }
}

function makesRoom({ kind }: SchemaStep): boolean {
  return kind === 'create-table' || kind === 'add-column'
}

function planJoin(own: SchemaDefinition, other: SchemaDefinition): Join {
  const refusals: SchemaRefusal[] = []
  const retired: [string, { readonly [field: string]: FieldDescriptor }][] = []
  const tables: [string, CollectionDefinition][] = []
  for (const name of new Set([...keptTables(own), ...keptTables(other)])) {
    const before = keptFields(own, name)
    const declared = ownValue(own.collections, name)?.fields ?? {}
    const joined = joinFields(`collections.${name}.fields`, {
      declared,
      before,
      added: keptFields(other, name),
    })
    refusals.push(...joined.refusals)
    if (Object.keys(joined.retired).length > 0) retired.push([name, joined.retired])
    const fields = { ...before, ...joined.retired, ...declared }
    if (Object.keys(fields).length === Object.keys(before).length) continue
    tables.push([name, { ...(ownValue(own.collections, name) ?? FORGOTTEN_COLLECTION), fields }])
  }
  const change = planSchemaChange(own, { ...own, collections: safeRecord(tables) })
  const materialized = remembering(own, {
    retired: safeRecord(retired),
    otherVersions: joinVersions(own, other),
  })
  return {
    steps: [...forgottenTables(own, tables), ...change.steps.filter(makesRoom)],
    refusals: [...refusals, ...change.refusals],
    materialized,
  }
}

/**
 * Tables of removed collections that are created again, because the operator may have dropped one that was no
 * longer needed, and it gets columns again now.
 */
function forgottenTables(
  own: SchemaDefinition,
  tables: readonly (readonly [string, CollectionDefinition])[],
): SchemaStep[] {
  return tables.flatMap(([collection]) => {
    const fields = ownValue(own.retired ?? {}, collection)
    if (fields === undefined || Object.hasOwn(own.collections, collection)) return []
    return [{ kind: 'create-table', collection, fields }]
  })
}

type Fields = { readonly [field: string]: FieldDescriptor }

/** @returns as `retired` the fields that the table keeps beside the declared ones */
function joinFields(
  path: string,
  { declared, before, added }: { readonly declared: Fields; readonly before: Fields; readonly added: Fields },
): { readonly retired: Fields; readonly refusals: readonly SchemaRefusal[] } {
  const refusals: SchemaRefusal[] = []
  const retired = new Map(Object.entries(before).filter(([field]) => !Object.hasOwn(declared, field)))
  for (const [field, descriptor] of Object.entries(added)) {
    const known = ownValue(before, field)
    if (known === undefined) {
      retired.set(field, descriptor)
      continue
    }
    const refusal = refuseFieldChange(`${path}.${field}`, descriptor, known)
    if (refusal === null) continue
    // A field that neither schema has any more is remembered in the form that fits the values of both.
    const isForgotten = !Object.hasOwn(declared, field)
    if (isForgotten && refuseFieldChange(path, known, descriptor) === null) retired.set(field, descriptor)
    else refusals.push(refusal)
  }
  const count = new Set([...Object.keys(before), ...Object.keys(added)]).size
  if (count > MAX_FIELDS && count > Object.keys(before).length) {
    refusals.push({ path, message: `the table would have ${count} columns; it holds at most ${MAX_FIELDS}.` })
  }
  return { retired: safeRecord(retired), refusals }
}

/** Adds the versions of the other schema, the newest first, as many as there is room for. Versions known here stay. */
function joinVersions(own: SchemaDefinition, other: SchemaDefinition): VersionFields {
  const known: VersionFields = own.otherVersions ?? {}
  const added: VersionFields = { ...other.otherVersions, [other.version]: fieldNames(other) }
  const kept = Object.entries(added)
    .filter(([version]) => Number(version) !== own.version && !Object.hasOwn(known, version))
    .sort(([a], [b]) => Number(b) - Number(a))
    .slice(0, Math.max(0, MAX_VERSIONS - Object.keys(known).length))
  return { ...known, ...Object.fromEntries(kept) }
}
