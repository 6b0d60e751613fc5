import type { JsonValue } from '../../core/operation.ts'
import { decodeBytes } from '../../core/record/binary-values.ts'
import type { CollectionDefinition, FieldDescriptor } from '../../core/schema/types.ts'
import { storableJson, storableText } from '../../core/storable-value.ts'
import { corrupt } from '../damage/corrupt.ts'
import { byteaToRichtext, bytesToBytea, textToBytea } from './richtext-bytes.ts'

/**
 * How field values are stored in SQL columns. One rule for all stores, and nothing throws:
 *
 * | Kind                           | SQLite  | PostgreSQL       | A value of another type            |
 * | ------------------------------ | ------- | ---------------- | ---------------------------------- |
 * | string, enum, secret           | TEXT    | text             | its JSON text                      |
 * | number                         | REAL    | double precision | null                               |
 * | boolean                        | INTEGER | integer          | null                               |
 * | timestamp (whole ms)           | INTEGER | bigint           | null; fractions are cut off        |
 * | richtext                       | BLOB    | bytea            | its JSON text                      |
 * | array, object, json, unknown   | TEXT    | jsonb            | does not exist: any JSON           |
 * | blob                           | TEXT    | text             | does not exist: any JSON, as text  |
 *
 * Enums have no CHECK: neither database can widen one without rewriting or locking the table, and every value is
 * checked before it is stored. A missing field shows its default.
 *
 * @see docs/schema.md, "Columns"
 */
export type SqlDialect = 'sqlite' | 'postgres'

/** Values that drivers accept. */
export type ColumnValue = string | number | Uint8Array | null

/** A field's value as records show it: JSON, or the bytes of a rich-text document. */
export type ShownValue = JsonValue | Uint8Array

/** The column of one field in one dialect. */
export interface Column {
  /** Name of the field and of the column. */
  readonly field: string
  readonly descriptor: FieldDescriptor
  readonly sqlType: string
  /** @param value undefined when the record does not have the field */
  encode(value: JsonValue | undefined): ColumnValue
  /**
   * @param stored from the driver, which parses jsonb and returns bigint as text or number
   * @throws StoreError `STORE_CORRUPT` when it is not what `encode` writes
   */
  decode(stored: unknown): ShownValue
  /** The value as a store without SQL columns shows it: the same as one that has stored it. */
  show(value: JsonValue | undefined): ShownValue
}

/** The columns of a collection's fields in the order of declaration. Create them once per schema. */
export function columnsOf(collection: CollectionDefinition, dialect: SqlDialect): readonly Column[] {
  return Object.entries(collection.fields).map(([field, descriptor]) => columnOf(field, descriptor, dialect))
}

/** The column of one field; `encode` uses the field's default where a record lacks it. */
export function columnOf(field: string, descriptor: FieldDescriptor, dialect: SqlDialect): Column {
  const storage = storageOf(descriptor.kind, dialect)
  const fallback =
    descriptor.defaultValue === undefined || descriptor.defaultValue === null
      ? null
      : storage.encode(descriptor.defaultValue)
  const encode = (value: JsonValue | undefined) =>
    value === undefined ? fallback : value === null ? null : storage.encode(value)
  const decode = (stored: unknown) => {
    if (stored === null || stored === undefined) return null
    try {
      return storage.decode(stored)
    } catch (cause) {
      throw corrupt(`A value of column "${field}" cannot be read.`, cause)
    }
  }
  const show = (value: JsonValue | undefined) => {
    const encoded = encode(value)
    return storage.asRead === undefined || encoded === null
      ? decode(encoded)
      : decode(storage.asRead(encoded))
  }
  return { field, descriptor, sqlType: storage.sqlType, encode, decode, show }
}

/** The SQL type of a field of this kind. */
export function columnType(kind: string, dialect: SqlDialect): string {
  return storageOf(kind, dialect).sqlType
}

/**
 * The value that a column must equal for a filter to match.
 *
 * @param value any value of a query's `where` except null, which asks for missing values
 * @returns undefined when the column cannot hold the value, so that no record matches
 */
export function encodeFilterValue(column: Column, value: JsonValue): ColumnValue | undefined {
  const shown = column.show(value)
  if (typeof shown !== typeof value) return undefined
  if (typeof value === 'number' && shown !== value) return undefined // a fraction that the column would cut off
  return column.encode(value) ?? undefined
}

/**
 * The stored form of a value as a record shows it.
 *
 * @param column undefined for `_created_at` and `_updated_at`
 */
export function encodeShownValue(column: Column | undefined, shown: ShownValue): ColumnValue {
  if (column === undefined) return typeof shown === 'number' ? shown : null
  return column.encode(shown instanceof Uint8Array ? null : shown) // bytes are rich text, which has no order
}

interface Storage {
  readonly sqlType: string
  encode(value: NonNullable<JsonValue>): ColumnValue
  decode(stored: unknown): ShownValue
  /** The value that the driver returns for a stored one; absent where they are the same. */
  asRead?(encoded: NonNullable<ColumnValue>): unknown
}

function storageOf(kind: string, dialect: SqlDialect): Storage {
  const storages = dialect === 'sqlite' ? SQLITE : POSTGRES
  switch (kind) {
    case 'string':
    case 'enum':
    case 'secret':
      return storages.text
    case 'number':
    case 'boolean':
    case 'timestamp':
    case 'richtext':
    case 'blob':
      return storages[kind]
    default:
      return storages.json
  }
}

type StorageName = 'text' | 'number' | 'boolean' | 'timestamp' | 'richtext' | 'blob' | 'json'

const SQLITE: Record<StorageName, Storage> = {
  text: { sqlType: 'text', encode: encodeText, decode: decodeText },
  number: { sqlType: 'real', encode: encodeNumber, decode: decodeNumber },
  boolean: { sqlType: 'integer', encode: encodeBoolean, decode: decodeBoolean },
  timestamp: { sqlType: 'integer', encode: encodeTimestamp, decode: decodeNumber },
  richtext: { sqlType: 'blob', encode: encodeRichtext, decode: decodeRichtext },
  blob: { sqlType: 'text', encode: storableJson, decode: decodeJsonText },
  json: { sqlType: 'text', encode: storableJson, decode: decodeJsonText },
}

/** Text sorts by bytes, as in SQLite: with a locale's order, pages would differ between stores. */
const POSTGRES_TEXT = 'text collate "C"'

const POSTGRES: Record<StorageName, Storage> = {
  text: { ...SQLITE.text, sqlType: POSTGRES_TEXT },
  number: { ...SQLITE.number, sqlType: 'double precision' },
  boolean: SQLITE.boolean,
  timestamp: { ...SQLITE.timestamp, sqlType: 'bigint' },
  richtext: { sqlType: 'bytea', encode: encodeBytea, decode: decodeBytea },
  blob: { ...SQLITE.blob, sqlType: POSTGRES_TEXT },
  // Already parsed by the driver.
  json: {
    sqlType: 'jsonb',
    encode: storableJson,
    decode: (stored) => stored as JsonValue,
    asRead: decodeJsonText,
  },
}

function encodeText(value: NonNullable<JsonValue>): string {
  return typeof value === 'string' ? storableText(value) : storableJson(value)
}

function decodeText(stored: unknown): string {
  if (typeof stored === 'string') return stored
  throw new TypeError(`Expected text, got ${typeof stored}.`)
}

function encodeNumber(value: NonNullable<JsonValue>): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value + 0 : null // -0 becomes 0, as in JSON
}

/** Accepts text too, because `pg` returns bigint as text. */
function decodeNumber(stored: unknown): number {
  const number = typeof stored === 'string' ? Number(stored) : stored
  if (typeof number === 'number' && Number.isFinite(number)) return number
  throw new TypeError(`Expected a number, got ${typeof stored}.`)
}

function encodeBoolean(value: NonNullable<JsonValue>): number | null {
  return typeof value === 'boolean' ? Number(value) : null
}

function decodeBoolean(stored: unknown): boolean {
  return decodeNumber(stored) !== 0
}

function encodeTimestamp(value: NonNullable<JsonValue>): number | null {
  if (typeof value !== 'number') return null
  const whole = Math.trunc(value) + 0
  return Number.isSafeInteger(whole) ? whole : null
}

function encodeRichtext(value: NonNullable<JsonValue>): string | Uint8Array {
  return decodeBytes(value) ?? encodeText(value)
}

function decodeRichtext(stored: unknown): string | Uint8Array {
  if (typeof stored === 'string') return stored
  if (stored instanceof Uint8Array) return new Uint8Array(stored) // a Buffer would be shown differently
  throw new TypeError(`Expected text or bytes, got ${typeof stored}.`)
}

function encodeBytea(value: NonNullable<JsonValue>): Uint8Array {
  const bytes = decodeBytes(value)
  return bytes === null ? textToBytea(encodeText(value)) : bytesToBytea(bytes)
}

function decodeBytea(stored: unknown): string | Uint8Array {
  if (stored instanceof Uint8Array) return byteaToRichtext(stored)
  throw new TypeError(`Expected bytes, got ${typeof stored}.`)
}

function decodeJsonText(stored: unknown): JsonValue {
  return JSON.parse(decodeText(stored)) as JsonValue // written by storableJson
}
