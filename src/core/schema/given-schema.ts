/**
 * A schema as a program has it: from `defineSchema`, or from any `@korajs/core` 1.x, whose types are less precise
 * in some parts, or written by hand. `parseSchema` fills in missing parts and reports problems.
 *
 * @see SchemaDefinition for what a store makes of it
 */
export interface GivenSchema {
  readonly version: number
  readonly collections: { readonly [collection: string]: GivenCollection }
  readonly relations?: { readonly [relation: string]: GivenRelation } | undefined
  /** By version; the type of some packages says that it is a number. */
  readonly migrations?: object | undefined
  readonly sync?: { readonly [collection: string]: GivenSyncRule } | undefined
}

export interface GivenCollection {
  readonly fields: { readonly [field: string]: GivenField }
  readonly indexes?: readonly string[] | null | undefined
  readonly constraints?: readonly GivenConstraint[] | null | undefined
  readonly resolvers?: { readonly [field: string]: GivenResolver } | null | undefined
  readonly scope?: readonly string[] | null | undefined
  readonly stateMachine?: GivenStateMachine | null | undefined
}

export interface GivenField {
  readonly kind: string
  readonly required?: boolean | undefined
  readonly defaultValue?: unknown
  readonly auto?: boolean | undefined
  readonly enumValues?: readonly string[] | null | undefined
  readonly itemKind?: string | null | undefined
  readonly mergeStrategy?: string | null | undefined
  readonly transitions?: { readonly [state: string]: readonly string[] } | null | undefined
  readonly nestedFields?: { readonly [field: string]: GivenField } | null | undefined
  readonly secretMode?: string | null | undefined
}

export interface GivenConstraint {
  readonly type: string
  readonly fields: readonly string[]
  readonly where?: { readonly [field: string]: unknown } | undefined
  readonly limit?: number | undefined
  readonly onConflict: string
  readonly priorityField?: string | undefined
  readonly resolve?: GivenResolver | undefined
}

/** A resolver may type its parameters in any way: it is called with JSON values. */
export type GivenResolver = (local: never, remote: never, base: never) => unknown

export interface GivenRelation {
  readonly from: string
  readonly to: string
  readonly type: string
  readonly field: string
  readonly onDelete: string
}

export interface GivenStateMachine {
  readonly field: string
  readonly transitions: { readonly [state: string]: readonly string[] }
  readonly onInvalidTransition: string
}

export interface GivenSyncRule {
  readonly where: { readonly [field: string]: string }
}
