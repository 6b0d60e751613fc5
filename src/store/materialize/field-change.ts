import type { FieldDescriptor } from '../../core/schema/types.ts'

/** A change that stored data does not survive, and what to do instead. */
export interface SchemaRefusal {
  /** Where in the schema, like `collections.todos.fields.title`. */
  readonly path: string
  readonly message: string
}

/**
 * Kinds that may follow a kind: the column is of the same type in both databases, whatever was valid
 * before is valid afterwards, and comes to the same where two devices have changed it at once. `json`
 * merges objects, and makes `{}` of two lists.
 */
const SUCCESSORS: { readonly [kind: string]: readonly string[] } = {
  enum: ['string', 'secret'],
  string: ['secret'],
  secret: ['string'],
  object: ['json'],
}

/** Refuses a new form of a field that values written under the old one would not fit. */
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
  if (later === null) return null // any text, from now on
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
