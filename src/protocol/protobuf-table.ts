import type { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { lazyRequire } from '../core/lazy-require.ts'
import { protocolError } from './message-reader.ts'

/** Loaded lazily, because most clients use JSON. */
const wire = lazyRequire<typeof import('@bufbuild/protobuf/wire')>('@bufbuild/protobuf/wire')

/** One message of the .proto file, as written by the generator. */
export interface ProtobufTable {
  readonly name: string
  /** Ascending by number, which is the order on the wire. */
  readonly fields: readonly ProtobufField[]
}

export interface ProtobufField {
  readonly number: number
  readonly name: string
  readonly kind: 'string' | 'bool' | 'int32' | 'uint32' | 'int64' | ProtobufTable
  readonly isRepeated?: true
  /** Written even when it is 0, false or empty. */
  readonly isOptional?: true
}

/** Field name → most occurrences accepted. */
export type RepeatBounds = { readonly [field: string]: number | CountedBeyond }

/**
 * Bound of a list that is refused with its message part rather than with the frame: this many entries are read.
 * Those beyond become holes, so that the list keeps its true length.
 */
export interface CountedBeyond {
  readonly read: number
}

/**
 * Entries of a frame that are counted but not read: as many values as a JSON frame may have around those of
 * operations.
 */
const MAX_HOLES = 100_000

/**
 * Encodes the properties that are present, in the order of their numbers, byte for byte as the clients do: an empty
 * string is left out unless the field is optional.
 */
export function encodeProtobuf(table: ProtobufTable, message: object): Uint8Array {
  const writer = new (wire().BinaryWriter)()
  writeMessage(writer, table, message)
  return writer.finish()
}

/**
 * Decodes one message. Unknown fields are skipped, the last occurrence of a singular field wins, missing fields
 * stay absent. A library's reader would build whatever the bytes ask for; this one stops at the bounds.
 *
 * @throws ProtocolError for bytes that are not such a message, or exceed a bound
 */
export function decodeProtobuf(table: ProtobufTable, bytes: Uint8Array, bounds: RepeatBounds): object {
  const frame = { reader: new (wire().BinaryReader)(bytes), bounds, holes: 0 }
  try {
    return readMessage(frame, table, bytes.length)
  } catch (error) {
    // The primitives throw RangeError, TypeError or Error for invalid bytes.
    throw error instanceof Error && error.name === 'ProtocolError'
      ? error
      : protocolError(`The frame is not a valid ${table.name}.`, error)
  }
}

type Properties = Record<string, unknown>

function writeMessage(writer: BinaryWriter, table: ProtobufTable, message: object): void {
  for (const field of table.fields) {
    const value = (message as Properties)[field.name]
    if (value === undefined || (value === '' && field.isOptional !== true)) continue
    if (field.isRepeated === true)
      for (const element of value as readonly unknown[]) writeField(writer, field, element)
    else writeField(writer, field, value)
  }
}

/** Writes a field. The casts hold because callers pass the types that are generated beside the tables. */
function writeField(writer: BinaryWriter, { number, kind }: ProtobufField, value: unknown): void {
  const { WireType } = wire()
  switch (kind) {
    case 'string':
      writer.tag(number, WireType.LengthDelimited).string(value as string)
      break
    case 'bool':
      writer.tag(number, WireType.Varint).bool(value as boolean)
      break
    case 'int32':
      writer.tag(number, WireType.Varint).int32(value as number)
      break
    case 'uint32':
      writer.tag(number, WireType.Varint).uint32(value as number)
      break
    case 'int64':
      writer.tag(number, WireType.Varint).int64(value as number)
      break
    default:
      writer.tag(number, WireType.LengthDelimited).fork()
      writeMessage(writer, kind, value as object)
      writer.join()
  }
}

/** Singular and unknown fields of one message, of which honest writers send each once. Bounds the time per byte. */
const MAX_SINGULAR_FIELDS = 200

interface FrameInReading {
  readonly reader: BinaryReader
  readonly bounds: RepeatBounds
  holes: number
}

function readMessage(frame: FrameInReading, table: ProtobufTable, end: number): object {
  const { reader } = frame
  const message: Properties = {}
  const fieldsByNumber = fieldsByNumberOf(table)
  let singularFields = 0
  while (reader.pos < end) {
    const [number, wireType] = reader.tag()
    const field = fieldsByNumber[number]
    if (field?.isRepeated === true) {
      // biome-ignore lint/suspicious/noAssignInExpressions: the list is made where it is first needed
      const list = (message[field.name] ??= []) as unknown[]
      if (isToBeRead(frame, table, field, list.length)) list.push(readField(frame, table, field, wireType))
      else {
        skipField(reader, table, number, wireType)
        list.length++
      }
      continue
    }
    if (++singularFields > MAX_SINGULAR_FIELDS) {
      throw protocolError(`${table.name} has more than ${MAX_SINGULAR_FIELDS} fields.`)
    }
    if (field === undefined) skipField(reader, table, number, wireType)
    else message[field.name] = readField(frame, table, field, wireType)
  }
  if (reader.pos !== end) throw protocolError(`${table.name} is truncated.`)
  return message
}

/** True if the next entry of a list of this length is read, and not only counted. */
function isToBeRead(
  frame: FrameInReading,
  table: ProtobufTable,
  { name }: ProtobufField,
  count: number,
): boolean {
  const bound = frame.bounds[name] ?? 0
  if (count < (typeof bound === 'number' ? bound : bound.read)) return true
  if (typeof bound === 'number') throw protocolError(`${table.name}.${name} has more than ${bound} entries.`)
  if (++frame.holes > MAX_HOLES)
    throw protocolError(`The frame has more than ${MAX_HOLES} entries beyond those that are accepted.`)
  return false
}

function readField(
  frame: FrameInReading,
  table: ProtobufTable,
  { name, kind }: ProtobufField,
  wireType: WireType,
): unknown {
  const { reader } = frame
  const { WireType } = wire()
  const expected = kind === 'string' || typeof kind === 'object' ? WireType.LengthDelimited : WireType.Varint
  if (wireType !== expected)
    throw protocolError(`${table.name}.${name} has wire type ${wireType}, not ${expected}.`)
  switch (kind) {
    case 'string':
      return reader.string(true)
    case 'bool':
      return reader.bool()
    case 'int32':
      return reader.int32()
    case 'uint32':
      return reader.uint32()
    case 'int64':
      return Number(reader.int64()) // inexact beyond 2^53, which the message's checks refuse as in JSON
    default: {
      const length = reader.uint32()
      const end = reader.pos + length
      if (end > reader.len) throw protocolError(`${table.name}.${name} is truncated.`)
      return readMessage(frame, kind, end)
    }
  }
}

/** Skips an unknown field. Groups are refused: no version of the protocol had them, and they nest. */
function skipField(reader: BinaryReader, table: ProtobufTable, number: number, wireType: WireType): void {
  const { WireType } = wire()
  if (wireType === WireType.StartGroup || wireType === WireType.EndGroup) {
    throw protocolError(`${table.name} has a group (field ${number}), which is not accepted.`)
  }
  reader.skip(wireType, number)
}

const fieldsByTable = new WeakMap<ProtobufTable, readonly (ProtobufField | undefined)[]>()

function fieldsByNumberOf(table: ProtobufTable): readonly (ProtobufField | undefined)[] {
  const known = fieldsByTable.get(table)
  if (known !== undefined) return known
  const fields: (ProtobufField | undefined)[] = []
  for (const field of table.fields) fields[field.number] = field
  fieldsByTable.set(table, fields)
  return fields
}
