import type { Operation } from '../core/operation.ts'
import { isEncryptedPayload } from '../core/record/binary-values.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import { operationToWireJson } from '../protocol/parse-operation.ts'
import type { LogEntry } from '../store/store.ts'

/**
 * The fields of one version of the schema. A client of that version has no columns for others: it
 * stops reading at the first operation that carries one.
 */
export interface KnownFields {
  readonly version: number
  /** Collection → its fields. */
  readonly collections: ReadonlyMap<string, ReadonlySet<string>>
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
  return { version, collections: new Map(named.map(([name, fields]) => [name, new Set(fields)])) }
}

/** The entry's wire JSON as a client with these fields can store it. */
export function wireJsonFor({ collection, wireJson }: LogEntry, known: KnownFields | null): string {
  const fields = known?.collections.get(collection) // clients skip a collection that they do not have
  return fields === undefined ? wireJson : withoutUnknownFields(wireJson, fields)
}

/**
 * The wire JSON of an operation without the fields that are not in `fields`; the same text where
 * there are none, as nearly always. An operation that is left with no field is still sent: others may
 * depend on it.
 *
 * The schema version that an operation names does not tell: a server of another version has taken
 * the author's word for it, and a snapshot names the version of the operation that it follows.
 *
 * @param wireJson written by `operationToWireJson`
 */
export function withoutUnknownFields(wireJson: string, fields: ReadonlySet<string>): string {
  if (isSurelyKnown(wireJson, fields)) return wireJson
  const operation = JSON.parse(wireJson) as Operation // written by us
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
function pick<Values extends object | null>(values: Values, fields: ReadonlySet<string>): Values {
  if (values === null || Object.keys(values).every((field) => fields.has(field))) return values
  const known = Object.entries(values).filter(([field]) => fields.has(field))
  return Object.fromEntries(known) as Values // the same values, fewer of them
}

/*
 * Asked of every operation that is sent, where parsing would cost as much as all the rest. So the
 * text is read just far enough to see the names of plain fields:
 *
 *   …,"data":{"title":"milk","done":false},"previousData":null,"timestamp":…
 *
 * Where a value is not plain, or a text has escapes, the answer is no, and the operation is parsed.
 */

const ID_LENGTH = '{"id":""'.length + 64
const DATA = ',"data":'
const PREVIOUS_DATA = ',"previousData":'
const QUOTE = 0x22
const COMMA = 0x2c
const ZERO = 0x30
const NINE = 0x39
const BRACKET = 0x5b
const BACKSLASH = 0x5c
const OPEN = 0x7b
const CLOSE = 0x7d
const UNSURE = -1

/** Names before `data` are strings, in which quotes are escaped: the search cannot stop inside one. */
function isSurelyKnown(wireJson: string, fields: ReadonlySet<string>): boolean {
  const dataEnd = skipKnown(wireJson, wireJson.indexOf(DATA, ID_LENGTH) + DATA.length, fields)
  if (dataEnd === UNSURE) return false
  const end = skipKnown(wireJson, dataEnd + PREVIOUS_DATA.length, fields)
  return end !== UNSURE && (endsWithVersion(wireJson) || !wireJson.includes('"atomicOps":', end))
}

/** True where nothing follows the schema version, a number: what may follow ends with a brace or a quote. */
function endsWithVersion(wireJson: string): boolean {
  const last = wireJson.charCodeAt(wireJson.length - 2)
  return last >= ZERO && last <= NINE
}

/** @returns the index behind the object or the null that starts here, or `UNSURE` */
function skipKnown(json: string, start: number, fields: ReadonlySet<string>): number {
  if (json.charCodeAt(start) !== OPEN) return start + 'null'.length
  let at = start + 1
  if (json.charCodeAt(at) === CLOSE) return at + 1
  for (;;) {
    const nameEnd = json.indexOf('"', at + 1)
    // A name with escapes is cut short here, before a backslash that no field has in its name.
    if (!fields.has(json.slice(at + 1, nameEnd))) return UNSURE
    at = skipPlainValue(json, nameEnd + 2)
    if (at === UNSURE) return UNSURE
    if (json.charCodeAt(at) === CLOSE) return at + 1
    at++
  }
}

/** @returns the index of the comma or brace behind the value that starts here, or `UNSURE` */
function skipPlainValue(json: string, start: number): number {
  const first = json.charCodeAt(start)
  if (first === OPEN || first === BRACKET) return UNSURE
  if (first === QUOTE) {
    const end = json.indexOf('"', start + 1)
    return json.charCodeAt(end - 1) === BACKSLASH ? UNSURE : end + 1
  }
  let at = start
  for (let code = first; code !== COMMA && code !== CLOSE; code = json.charCodeAt(at)) at++
  return at
}
