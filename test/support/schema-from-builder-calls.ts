import { type AnyField, t } from '../../src/core/schema/builders.ts'
import { defineSchema, type SchemaInput } from '../../src/core/schema/define-schema.ts'
import { type MigrationBuilder, migrate } from '../../src/core/schema/migration-builder.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'

/** A field of the vectors: the builder, its argument, and the modifiers called on it. */
interface BuilderCall {
  readonly builder: string
  readonly values?: readonly string[]
  readonly item?: BuilderCall
  readonly fields?: { readonly [field: string]: BuilderCall }
  readonly modifiers?: readonly (readonly [string, ...unknown[]])[]
}

/** The input of one schema vector, with builder calls as data. */
export interface SchemaCalls {
  readonly version: number
  readonly collections: {
    readonly [name: string]: { readonly fields: { readonly [field: string]: BuilderCall } }
  }
  readonly migrations?: { readonly [version: string]: readonly (readonly [string, ...unknown[]])[] }
  readonly [part: string]: unknown
}

/** Makes the calls that a schema vector describes. */
export function defineFromCalls(calls: SchemaCalls): SchemaDefinition {
  const collections = mapValues(calls.collections, (collection) => ({
    ...(withFunctions(collection) as object),
    fields: mapValues(collection.fields, buildField),
  }))
  const migrations = mapValues(calls.migrations ?? {}, buildMigration)
  // The vectors hold invalid input on purpose.
  const input = { ...(withFunctions(calls) as object), collections, migrations } as unknown as SchemaInput
  return defineSchema(input)
}

function buildField(call: BuilderCall): AnyField {
  // Names of builders and modifiers are those of `t`; a wrong one fails the test that uses it.
  const builders = t as unknown as Record<string, (argument: unknown) => AnyField>
  const argument = call.item
    ? buildField(call.item)
    : call.fields
      ? mapValues(call.fields, buildField)
      : call.values
  const builder = builders[call.builder]?.(argument)
  if (builder === undefined) throw new Error(`Unknown builder ${call.builder}`)
  return (call.modifiers ?? []).reduce((field, [modifier, ...args]) => {
    const methods = field as unknown as Record<string, (...args: unknown[]) => AnyField>
    const changed = methods[modifier]?.(...args)
    if (changed === undefined) throw new Error(`Unknown modifier ${modifier}`)
    return changed
  }, builder)
}

function buildMigration(steps: readonly (readonly [string, ...unknown[]])[]): MigrationBuilder {
  return steps.reduce((builder, [step, ...args]) => {
    const methods = builder as unknown as Record<string, (...args: unknown[]) => MigrationBuilder>
    const changed = methods[step]?.(...args.map(asArgument))
    if (changed === undefined) throw new Error(`Unknown migration step ${step}`)
    return changed
  }, migrate())
}

function asArgument(argument: unknown): unknown {
  const isField = typeof argument === 'object' && argument !== null && 'builder' in argument
  return isField ? buildField(argument as BuilderCall) : withFunctions(argument)
}

/** Replaces `{"$function": true}` by a function. */
function withFunctions(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withFunctions)
  if ('$function' in value) return () => null
  return mapValues(value as Record<string, unknown>, withFunctions)
}

function mapValues<In, Out>(
  object: { readonly [key: string]: In },
  convert: (value: In) => Out,
): { [key: string]: Out } {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, convert(value)]))
}
