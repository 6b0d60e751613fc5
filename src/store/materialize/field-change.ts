import type { FieldDescriptor } from '../../core/schema/types.ts'

/** A change that stored data would not survive, and what to do instead. */
export interface SchemaRefusal {
  /** Path in the schema, like `collections.todos.fields.title`. */
  readonly path: string
  readonly message: string
}

/**
 * Kinds that may follow a kind: the column has the same type in both databases, whatever was valid before stays
 * valid, and concurrent changes have the same result. `json` merges objects, and turns two lists into `{}`.
 */
const SUCCESSORS: { readonly [kind: string]: readonly string[] } = {
  enum: ['string', 'secret'],
  string: ['secret'],
  secret: ['string'],
  object: ['json'],
}

/** Refuses a new form of a field that values written under the old form would not fit. */
export function refuseFieldChange(
  path: string,
  earlier: FieldDescriptor,
  later: FieldDescriptor,
): SchemaRefusal | null {
  if (earlier.kind !== later.kind) {
    return SUCCESSORS[earlier.kind]?.includes(later.kind) ? null : refuseKind(path, earlier.kind, later.kind)
  }
  return refuseShrunkEnum(path, earlier.enumValues, later.enumValues)
}

function refuseKind(path: string, earlier: string, later: string): SchemaRefusal {
  return {
    path,
    message:
      `its kind cannot change from ${earlier} to ${later}, because the stored values are of kind ${earlier}. ` +
      `Leave it as it is and add a field of kind ${later} under another name.`,
  }
}

function refuseShrunkEnum(
  path: string,
  earlier: readonly string[] | null,
  later: readonly string[] | null,
): SchemaRefusal | null {
  if (later === null) return null // from now on, any text is valid
  const removed = earlier === null ? [] : earlier.filter((value) => !later.includes(value))
  if (earlier !== null && removed.length === 0) return null
  const values = removed.map((value) => JSON.stringify(value)).join(', ')
  return {
    path,
    message:
      earlier === null
        ? 'any text was allowed so far, and stored values may not be among the new ones. Add a new field instead.'
        : `records may hold ${values}, which would no longer be allowed, and clients could not store them. ` +
          'Keep the value in the schema and stop offering it in the app.',
  }
}
