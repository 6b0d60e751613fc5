import type { JsonValue } from '../operation.ts'

/**
 * The shape of a schema as `defineSchema` of this package, or of any `@korajs/core` 1.x, returns
 * it. `parseSchema` turns an object from outside into this type, with every optional part filled.
 */
export interface SchemaDefinition {
  readonly version: number
  readonly collections: { readonly [collection: string]: CollectionDefinition }
  readonly relations: { readonly [relation: string]: RelationDefinition }
  readonly migrations: { readonly [version: string]: MigrationDefinition }
  readonly sync?: { readonly [collection: string]: SyncRule }
  /**
   * Fields of earlier schemas whose columns the tables still have: collection → field. Only in the schema of a
   * store that has had some. @see withEarlierFields
   */
  readonly retired?: { readonly [collection: string]: { readonly [field: string]: FieldDescriptor } }
  /**
   * Names of the fields that other versions of the schema had: version → collection → fields. Only in the schema of
   * a store that has had some. @see withEarlierFields
   */
  readonly otherVersions?: {
    readonly [version: string]: { readonly [collection: string]: readonly string[] }
  }
}

export interface CollectionDefinition {
  readonly fields: { readonly [field: string]: FieldDescriptor }
  readonly indexes: readonly string[]
  readonly constraints: readonly Constraint[]
  readonly resolvers: { readonly [field: string]: Resolver }
  /** Hash of each resolver's source, which is all that JSON keeps of it. Absent where there are none. */
  readonly resolverHashes?: { readonly [field: string]: string }
  /** Fields that decide which clients may see a record. */
  readonly scope: readonly string[]
  readonly stateMachine: StateMachine | undefined
}

export type FieldKind =
  | 'string'
  | 'number'
  | 'boolean'
  | 'timestamp'
  | 'richtext'
  | 'enum'
  | 'array'
  | 'object'
  | 'json'
  | 'blob'
  | 'secret'

export type MergeStrategy =
  | 'lww'
  | 'counter'
  | 'max'
  | 'min'
  | 'union'
  | 'append-only'
  | 'server-authoritative'

export interface FieldDescriptor {
  /** A `FieldKind`; values of a kind that this release does not know are stored as JSON. */
  readonly kind: FieldKind | (string & {})
  readonly required: boolean
  /** undefined: no default; null is a real default */
  readonly defaultValue: JsonValue | undefined
  readonly auto: boolean
  readonly enumValues: readonly string[] | null
  readonly itemKind: FieldKind | (string & {}) | null
  readonly mergeStrategy: MergeStrategy | null
  readonly transitions: { readonly [state: string]: readonly string[] } | null
  readonly nestedFields?: { readonly [field: string]: FieldDescriptor } | null
  readonly secretMode?: 'hashed' | 'encrypted'
}

export type Resolver = (local: JsonValue, remote: JsonValue, base: JsonValue) => JsonValue

export interface Constraint {
  readonly type: 'unique' | 'capacity' | 'referential'
  readonly fields: readonly string[]
  readonly where?: { readonly [field: string]: JsonValue }
  /** Most live records in a `capacity` group. Default 2. */
  readonly limit?: number
  readonly onConflict: string
  readonly priorityField?: string
  readonly resolve?: Resolver
}

export interface RelationDefinition {
  readonly from: string
  readonly to: string
  readonly type: string
  /** The foreign key in `from`; holds an id of `to`. */
  readonly field: string
  readonly onDelete: 'cascade' | 'set-null' | 'restrict' | 'no-action'
}

export interface StateMachine {
  readonly field: string
  readonly transitions: { readonly [state: string]: readonly string[] }
  readonly onInvalidTransition: 'reject' | 'last-valid-state'
}

export interface SyncRule {
  /** field → name of the scope value it is bound to */
  readonly where: { readonly [field: string]: string }
}

export interface MigrationDefinition {
  readonly steps: readonly MigrationStep[]
  readonly rollbackSteps: readonly MigrationStep[] | undefined
  readonly safelyReversible: boolean
}

export interface MigrationStep {
  readonly type: string
  readonly collection: string
  readonly [property: string]: unknown
}
