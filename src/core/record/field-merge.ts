import { applyAtomic, extreme, toFinite } from '../atomic.ts'
import { deepEqual } from '../deep-equal.ts'
import type { AtomicOp, JsonValue } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { hasResolver } from '../schema/resolvers.ts'
import type { CollectionDefinition, FieldDescriptor, MergeStrategy, Resolver } from '../schema/types.ts'
import { storableValue } from '../storable-value.ts'
import { mergeAppendOnly, mergeArrays } from './add-wins-set.ts'
import { mergeMaps, type ThreeWay } from './map-merge.ts'
import { hasSameText, mergeRichTexts } from './richtext.ts'

/** A field as it was before, and as two sides have left it. */
export interface FieldMerge {
  readonly kind: FieldDescriptor['kind']
  readonly mergeStrategy?: MergeStrategy | null
  readonly resolver?: Resolver | undefined
  /** State → states that may follow it, for the field of a state machine. */
  readonly transitions?: { readonly [state: string]: readonly string[] } | undefined
  readonly base: JsonValue | undefined
  /** null: this side has not changed the field */
  readonly local: FieldChange | null
  readonly remote: FieldChange | null
  readonly isRemoteLater: boolean
}

export interface FieldChange {
  readonly value: JsonValue | undefined
  readonly atomicOp?: AtomicOp
}

/** Kinds that are merged by content; for all others the later value wins. */
const CONTENT_KINDS: ReadonlySet<string> = new Set(['array', 'object', 'json', 'richtext'])

const NUMERIC_STRATEGIES: ReadonlySet<string> = new Set(['counter', 'max', 'min'])

/** True when a conflicting write to the field is merged instead of replacing the value. */
export function isMergedField(collection: CollectionDefinition, field: string): boolean {
  if (hasResolver(collection, field)) return true
  const descriptor = ownValue(collection.fields, field)
  return descriptor !== undefined && CONTENT_KINDS.has(descriptor.kind)
}

/**
 * True when the field is a scalar whose `.merge()` strategy takes part in a merge that another
 * field of the same update has caused.
 */
export function hasNumericStrategy(collection: CollectionDefinition, field: string): boolean {
  const descriptor = ownValue(collection.fields, field)
  if (descriptor === undefined || CONTENT_KINDS.has(descriptor.kind)) return false
  return descriptor.mergeStrategy !== null && NUMERIC_STRATEGIES.has(descriptor.mergeStrategy)
}

/** The value of a field as clients see it: the schema's default where it is missing. */
export function shownValue(
  descriptor: FieldDescriptor | undefined,
  current: JsonValue | undefined,
): JsonValue | undefined {
  return current === undefined ? descriptor?.defaultValue : current
}

/**
 * True when the field does not have the value that the author of a change believed it had. A missing value equals
 * null, because clients read both as null, or as the schema's default. A previous value noted by a server of an
 * earlier release may hold text that is no longer allowed, so it is also compared in its storable form.
 */
export function isConflict(
  descriptor: FieldDescriptor | undefined,
  current: JsonValue | undefined,
  previous: JsonValue | undefined,
): boolean {
  const shown = shownValue(descriptor, current)
  if ((shown ?? null) === null && (previous ?? null) === null) return false
  if (descriptor?.kind === 'richtext') return !hasSameText(shown, previous)
  return !deepEqual(shown, previous) && !deepEqual(shown, storableValue(previous ?? null))
}

/**
 * Merges a field that two sides have changed, in the way that clients do. The first that applies decides: state
 * machine, resolver, atomic operations of one type, strategy, kind.
 *
 * @see docs/protocol.md, "Merging"
 */
export function mergeField(merge: FieldMerge): JsonValue | undefined {
  const { base, local, remote } = merge
  if (merge.transitions !== undefined) return mergeStates(merge, merge.transitions)
  if (local === null || remote === null)
    return local !== null ? local.value : remote !== null ? remote.value : base
  if (merge.resolver !== undefined) return resolve(merge.resolver, merge, local, remote)
  if (local.atomicOp !== undefined && local.atomicOp.type === remote.atomicOp?.type) {
    const { type } = local.atomicOp
    return applyAtomic(type, applyAtomic(type, base, local.atomicOp.value), remote.atomicOp.value)
  }
  return mergeValues(merge, {
    base,
    local: local.value,
    remote: remote.value,
    isRemoteLater: merge.isRemoteLater,
  })
}

function mergeValues(
  { kind, mergeStrategy }: Pick<FieldMerge, 'kind' | 'mergeStrategy'>,
  values: ThreeWay,
): JsonValue | undefined {
  const { base, local, remote } = values
  if (mergeStrategy === 'server-authoritative') return remote
  switch (kind) {
    case 'array':
      return mergeStrategy === 'append-only'
        ? mergeAppendOnly(base, local, remote)
        : mergeArrays(base, local, remote)
    case 'object':
    case 'json':
      return mergeMaps(values)
    case 'richtext':
      return mergeRichTexts(values)
    default:
      return mergeScalars(mergeStrategy, values)
  }
}

function mergeScalars(
  mergeStrategy: MergeStrategy | null | undefined,
  { base, local, remote, isRemoteLater }: ThreeWay,
): JsonValue | undefined {
  const later = isRemoteLater ? remote : local
  switch (mergeStrategy) {
    case 'counter':
      return addDeltas(base, [local, remote])
    case 'max':
      return extreme(Math.max, [base, local, remote]) ?? later
    case 'min':
      return extreme(Math.min, [base, local, remote]) ?? later
    default:
      return later
  }
}

/** The base plus what each side added to it; a side that is not a number added nothing. */
function addDeltas(base: JsonValue | undefined, sides: readonly (JsonValue | undefined)[]): number {
  const start = typeof base === 'number' ? base : 0
  let sum = start
  for (const side of sides) sum += typeof side === 'number' ? side - start : 0
  return toFinite(sum)
}

/** Valid changes win over invalid ones; of two valid ones the later wins, and without any the base stays. */
function mergeStates(
  { base, local, remote, isRemoteLater }: FieldMerge,
  transitions: { readonly [state: string]: readonly string[] },
): JsonValue | undefined {
  const validLocal = local !== null && isTransition(transitions, base, local.value) ? local : null
  const validRemote = remote !== null && isTransition(transitions, base, remote.value) ? remote : null
  if (validLocal !== null && validRemote !== null) return (isRemoteLater ? validRemote : validLocal).value
  return (validLocal ?? validRemote ?? { value: base }).value
}

function isTransition(
  transitions: { readonly [state: string]: readonly string[] },
  from: JsonValue | undefined,
  to: JsonValue | undefined,
): boolean {
  if (typeof from !== 'string' || from === to) return true // a first state, or none left
  return typeof to === 'string' && (ownValue(transitions, from)?.includes(to) ?? false)
}

/**
 * Calls the application's resolver. It gets copies, so that it cannot change what is stored, and null for missing
 * values. If it throws, or returns something that JSON cannot carry, the later value wins. Text that it cuts in the
 * middle of a character is mended. A mistake in a resolver must not keep a record from being stored, nor keep what
 * the server writes of it from being read.
 */
function resolve(
  resolver: Resolver,
  { base, isRemoteLater }: FieldMerge,
  local: FieldChange,
  remote: FieldChange,
): JsonValue | undefined {
  try {
    const resolved = resolver(copy(local.value), copy(remote.value), copy(base))
    const text = JSON.stringify(resolved)
    if (text !== undefined) return storableValue(JSON.parse(text) as JsonValue) // JSON that has just been written
  } catch {
    // Falls through: see above.
  }
  return (isRemoteLater ? remote : local).value
}

function copy(value: JsonValue | undefined): JsonValue {
  return value === undefined ? null : structuredClone(value)
}
