import { ownValue } from '../own-property.ts'
import {
  FieldBuilder,
  type FieldBuilders,
  type ObjectValue,
  type PresenceOf,
  type ValueOf,
} from './builders.ts'
import { isPlainObject } from './plain-object.ts'
import { Problems } from './problems.ts'
import type {
  CollectionDefinition,
  Constraint,
  FieldDescriptor,
  MigrationDefinition,
  RelationDefinition,
  Resolver,
  SchemaDefinition,
  StateMachine,
  SyncRule,
} from './types.ts'
import { validateDefinition } from './validate-definition.ts'

export interface SchemaInput {
  /** A whole number from 1; raise it with every change that clients have to migrate to. */
  readonly version: number
  readonly collections: { readonly [collection: string]: CollectionInput }
  readonly relations?: { readonly [relation: string]: RelationDefinition }
  /** Version → how clients get there from the version before. */
  readonly migrations?: { readonly [version: string]: MigrationDefinition }
  /** Collection → which scope values its records are filtered by. */
  readonly sync?: { readonly [collection: string]: SyncRuleInput }
}

export interface CollectionInput {
  readonly fields: FieldBuilders
  /** Names of fields by which queries find records. */
  readonly indexes?: readonly string[]
  readonly constraints?: readonly Constraint[]
  /** Field → how its concurrent changes are merged. */
  readonly resolve?: { readonly [field: string]: Resolver }
  /** Names of fields that must equal the scope value of the same name. */
  readonly scope?: readonly string[]
  readonly stateMachine?: StateMachine
}

export interface SyncRuleInput {
  /** Field → the name of a scope value, or true for the one of the same name. */
  readonly where: { readonly [field: string]: string | true }
}

declare const inputType: unique symbol

/** A schema that knows the types of its records. */
export type TypedSchema<Input extends SchemaInput> = SchemaDefinition & { readonly [inputType]?: Input }

type FieldsOf<Schema, Collection extends string> =
  Schema extends TypedSchema<infer Input>
    ? Collection extends keyof Input['collections']
      ? Input['collections'][Collection]['fields']
      : never
    : never

/** A record as queries return it: `InferRecord<typeof schema, 'todos'>`. */
export type InferRecord<Schema, Collection extends string> = { readonly id: string } & {
  readonly [Field in keyof FieldsOf<Schema, Collection>]: PresenceOf<
    FieldsOf<Schema, Collection>[Field]
  > extends 'required' | 'defaulted'
    ? ValueOf<FieldsOf<Schema, Collection>[Field]>
    : ValueOf<FieldsOf<Schema, Collection>[Field]> | null
}

type WritableFields<Fields> = {
  [Field in keyof Fields as PresenceOf<Fields[Field]> extends 'auto' ? never : Field]: Fields[Field]
}

/** The fields that an insert takes: the required ones, and any of the others. */
export type InferInsertInput<Schema, Collection extends string> =
  WritableFields<FieldsOf<Schema, Collection>> extends infer Fields extends FieldBuilders
    ? ObjectValue<Fields>
    : never

/** The fields that an update takes: any of them, and null to clear one. */
export type InferUpdateInput<Schema, Collection extends string> = {
  [Field in keyof WritableFields<FieldsOf<Schema, Collection>>]?: ValueOf<
    FieldsOf<Schema, Collection>[Field]
  > | null
}

/**
 * Declares the collections of an app. The result is the same as that of `@korajs/core`.
 *
 * @throws SchemaError `SCHEMA_VALIDATION`, listing every problem with its path
 * @see docs/schema.md
 *
 * @example
 * const schema = defineSchema({
 *   version: 1,
 *   collections: {
 *     todos: {
 *       fields: { title: t.string(), done: t.boolean().default(false), userId: t.string() },
 *       indexes: ['userId'],
 *       scope: ['userId'],
 *     },
 *   },
 * })
 */
export function defineSchema<const Input extends SchemaInput>(input: Input): TypedSchema<Input> {
  const problems = new Problems()
  const sync = input.sync === undefined ? undefined : normalizeSync(input.sync, problems)
  const schema: SchemaDefinition = {
    version: input.version,
    collections: mapValues(input.collections, (collection, name) =>
      defineCollection(collection, Object.keys(ownValue(sync ?? {}, name)?.where ?? {}), name, problems),
    ),
    relations: mapValues(input.relations ?? {}, (relation) => ({ ...relation })),
    migrations: mapValues(input.migrations ?? {}, ({ steps, rollbackSteps, safelyReversible }) => ({
      steps,
      rollbackSteps,
      safelyReversible,
    })),
    ...(sync === undefined ? {} : { sync }),
  }
  validateDefinition(schema, problems)
  problems.throwIfAny('SCHEMA_VALIDATION')
  return schema
}

function defineCollection(
  input: CollectionInput,
  syncFields: readonly string[],
  name: string,
  problems: Problems,
): CollectionDefinition {
  const fields = isPlainObject(input.fields) ? input.fields : {}
  return {
    fields: mapValues(fields, (builder, field) =>
      buildField(builder, `collections.${name}.fields.${field}`, problems),
    ),
    indexes: [...(input.indexes ?? [])],
    constraints: (input.constraints ?? []).map((constraint) => ({ ...constraint })),
    resolvers: { ...input.resolve },
    scope: [...new Set([...(input.scope ?? []), ...syncFields])],
    stateMachine: input.stateMachine,
  }
}

function buildField(builder: unknown, path: string, problems: Problems): FieldDescriptor {
  if (builder instanceof FieldBuilder) return builder.toDescriptor()
  problems.add(path, 'must be made with one of the builders of `t`, such as t.string()')
  return { ...UNKNOWN_FIELD }
}

/** Stands in for an invalid field until the problem is thrown. */
const UNKNOWN_FIELD: FieldDescriptor = {
  kind: 'json',
  required: false,
  defaultValue: undefined,
  auto: false,
  enumValues: null,
  itemKind: null,
  mergeStrategy: null,
  transitions: null,
}

function normalizeSync(
  sync: NonNullable<SchemaInput['sync']>,
  problems: Problems,
): { readonly [collection: string]: SyncRule } {
  return mapValues(sync, (rule, name) => {
    const where = isPlainObject(rule?.where) ? rule.where : {}
    if (Object.keys(where).length === 0) problems.add(`sync.${name}.where`, 'must bind at least one field')
    return {
      where: mapValues(where, (binding, field) => {
        if (binding === true) return field
        if (typeof binding === 'string' && binding !== '') return binding
        problems.add(`sync.${name}.where.${field}`, 'must be true or the name of a scope value')
        return field
      }),
    }
  })
}

function mapValues<In, Out>(
  object: { readonly [key: string]: In },
  convert: (value: In, key: string) => Out,
): { [key: string]: Out } {
  return Object.fromEntries(Object.entries(object ?? {}).map(([key, value]) => [key, convert(value, key)]))
}
