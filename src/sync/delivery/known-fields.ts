import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { operationToWireJson } from '../../protocol/parse-operation.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import type { DeliveredEntry } from '../../store/store.ts'

/**
 * The fields of one schema version. A client of that version has no columns for others, and stops reading at the
 * first operation that carries one.
 */
export interface KnownFields {
  readonly version: number
  /** By collection. */
  readonly collections: ReadonlyMap<string, FieldNames>
}

/** The names of a collection's fields. */
export class FieldNames {
  readonly #names: ReadonlySet<string>
  readonly #plainly: RegExp

  constructor(names: readonly string[]) {
    this.#names = new Set(names)
    this.#plainly = plainlyWith(names.filter((name) => IDENTIFIER.test(name)))
  }

  has(name: string): boolean {
    return this.#names.has(name)
  }

  /**
   * True when the wire JSON shows at a glance that it has no other field. On false it has to be parsed to find out.
   *
   * @param wireJson written by `operationToWireJson`
   */
  areSurelyAllOf(wireJson: string): boolean {
    // Names before `data` are strings, in which quotes are escaped: the search cannot stop inside one.
    this.#plainly.lastIndex = wireJson.indexOf(DATA, ID_LENGTH)
    if (!this.#plainly.test(wireJson)) return false
    return endsWithVersion(wireJson) || !wireJson.includes('"atomicOps":', this.#plainly.lastIndex)
  }
}

/** Made once per schema object and version: all sessions of a version share them. */
const knownBySchema = new WeakMap<SchemaDefinition, Map<number, KnownFields>>()

/**
 * The fields that a client of this version has; null where they are not known, and it is sent
 * everything.
 *
 * @param schema the store's
 */
export function knownFieldsOf(version: number, schema: SchemaDefinition | null): KnownFields | null {
  if (schema === null) return null
  let knownByVersion = knownBySchema.get(schema)
  if (knownByVersion === undefined) {
    knownByVersion = new Map(versionsOf(schema).map((known) => [known.version, known]))
    knownBySchema.set(schema, knownByVersion)
  }
  return knownByVersion.get(version) ?? null
}

function versionsOf({ version, collections, otherVersions = {} }: SchemaDefinition): KnownFields[] {
  const own = Object.entries(collections).map(([name, { fields }]) => [name, Object.keys(fields)] as const)
  const others = Object.entries(otherVersions).map(([other, named]) =>
    knownFields(Number(other), Object.entries(named)),
  )
  return [...others, knownFields(version, own)]
}

function knownFields(
  version: number,
  named: readonly (readonly [collection: string, fields: readonly string[]])[],
): KnownFields {
  return { version, collections: new Map(named.map(([name, fields]) => [name, new FieldNames(fields)])) }
}

/** The entry's wire JSON as a client with these fields can store it. */
export function wireJsonFor({ collection, wireJson }: DeliveredEntry, known: KnownFields | null): string {
  const fields = known?.collections.get(collection) // clients skip a collection that they do not have
  return fields === undefined ? wireJson : withoutUnknownFields(wireJson, fields)
}

/**
 * The wire JSON of an operation without the fields that are not in `fields`, or the same text where there are none,
 * as is nearly always the case. An operation that loses all its fields is still sent, because others may depend on
 * it.
 *
 * The schema version of the operation does not help here: a server of another version has taken the author's word
 * for it, and a snapshot carries the version of the operation that it follows.
 *
 * @param wireJson written by `operationToWireJson`
 */
export function withoutUnknownFields(wireJson: string, fields: FieldNames): string {
  if (fields.areSurelyAllOf(wireJson)) return wireJson
  const operation = operationOfWireJson(wireJson)
  const { data, previousData, atomicOps } = operation
  if (isEncryptedPayload(data)) return wireJson
  const known = {
    data: pick(data, fields),
    previousData: isEncryptedPayload(previousData) ? previousData : pick(previousData, fields),
  }
  const knownAtomicOps = atomicOps === undefined ? undefined : pick(atomicOps, fields)
  if (
    known.data === data &&
    known.previousData === previousData &&
    (knownAtomicOps === undefined || knownAtomicOps === atomicOps)
  ) {
    return wireJson
  }
  return operationToWireJson({
    ...operation,
    ...known,
    ...(knownAtomicOps && { atomicOps: knownAtomicOps }),
  })
}

/** The values of these fields; the same object where there are no others. */
function pick<Values extends object | null>(values: Values, fields: FieldNames): Values {
  if (values === null || Object.keys(values).every((field) => fields.has(field))) return values
  const known = Object.entries(values).filter(([field]) => fields.has(field))
  return Object.fromEntries(known) as Values // the same values, fewer of them
}

/*
 * This check is made for every operation that is sent, where parsing would cost as much as all the rest. So the
 * text is read just far enough to see the names of plain fields:
 *
 *   …,"data":{"title":"milk","done":false},"previousData":null,"timestamp":…
 *
 * Where a value is not plain, or a text has an escaped quote, the answer is no, and the operation is parsed.
 */

const ID_LENGTH = '{"id":""'.length + 64
const DATA = ',"data":'
const IDENTIFIER = /^\w+$/
/** Each name in a text is compared with all names in turn: an operation with all of a thousand fields took 1 ms. */
const MAX_NAMES = 200
const NEVER = '(?!)'
const ZERO = 0x30
const NINE = 0x39

/**
 * A pattern that matches where `data` begins. A text can end at one quote only, so no text is looked at more than
 * twice.
 */
function plainlyWith(names: readonly string[]): RegExp {
  const isWorthwhile = names.length > 0 && names.length <= MAX_NAMES
  const field = `"(?:${isWorthwhile ? names.join('|') : NEVER})":(?:"[^"]*(?<!\\\\)"|[-+.\\w]+)`
  const values = `(?:null|\\{\\}|\\{(?:${field}[,}])+)`
  return new RegExp(`,"data":${values},"previousData":${values},"timestamp"`, 'y')
}

/**
 * True where the text ends with the schema version, a number: anything that may follow it ends with a brace or a
 * quote.
 */
function endsWithVersion(wireJson: string): boolean {
  const last = wireJson.charCodeAt(wireJson.length - 2)
  return last >= ZERO && last <= NINE
}
