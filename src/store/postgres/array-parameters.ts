/*
 * Arrays as parameters in the binary format of PostgreSQL, which the driver passes on as they are. The text format
 * escapes each quote of each JSON text here and unescapes it there: it cost half of an append's CPU on both sides.
 *
 *   int32 dimensions (1, or 0 for an empty array) · int32 has nulls · int32 type of the elements
 *   int32 length · int32 lower bound (1) · per element: int32 bytes (-1: null), then the value
 */

/** A value of a column; undefined is null. */
type Absent = null | undefined

const HEADER_BYTES = 20
const LENGTH_BYTES = 4

/** Numbers of the types in `pg_type`, the same in every database. */
const OIDS = {
  boolean: 16,
  bytea: 17,
  bigint: 20,
  smallint: 21,
  integer: 23,
  text: 25,
  double: 701,
  jsonb: 3802,
}

export function booleans(values: readonly boolean[]): Buffer {
  return fixedSize(values.map(Number), OIDS.boolean, 1, (buffer, value, offset) =>
    buffer.writeInt8(value, offset),
  )
}

export function smallints(values: readonly (number | Absent)[]): Buffer {
  return fixedSize(values, OIDS.smallint, 2, (buffer, value, offset) => buffer.writeInt16BE(value, offset))
}

export function integers(values: readonly (number | Absent)[]): Buffer {
  return fixedSize(values, OIDS.integer, 4, (buffer, value, offset) => buffer.writeInt32BE(value, offset))
}

/** @param values safe integers */
export function bigints(values: readonly (number | Absent)[]): Buffer {
  return fixedSize(values, OIDS.bigint, 8, writeInt64)
}

export function doubles(values: readonly (number | Absent)[]): Buffer {
  return fixedSize(values, OIDS.double, 8, (buffer, value, offset) => buffer.writeDoubleBE(value, offset))
}

export function texts(values: readonly (string | Absent)[]): Buffer {
  const lengths = values.map((value) => (typeof value === 'string' ? Buffer.byteLength(value) : -1))
  return variableSize(lengths, OIDS.text, (buffer, index, offset) =>
    buffer.write(values[index] ?? '', offset),
  )
}

export function byteas(values: readonly (Uint8Array | Absent)[]): Buffer {
  const lengths = values.map((value) => value?.byteLength ?? -1)
  return variableSize(lengths, OIDS.bytea, (buffer, index, offset) => {
    const value = values[index]
    if (value) buffer.set(value, offset)
  })
}

/** @param values JSON texts */
export function jsonbs(values: readonly (string | Absent)[]): Buffer {
  const lengths = values.map((value) => (typeof value === 'string' ? 1 + Buffer.byteLength(value) : -1))
  return variableSize(lengths, OIDS.jsonb, (buffer, index, offset) => {
    buffer[offset] = 1 // version of the format
    buffer.write(values[index] ?? '', offset + 1)
  })
}

function fixedSize(
  values: readonly (number | Absent)[],
  oid: number,
  size: number,
  write: (buffer: Buffer, value: number, offset: number) => void,
): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + values.length * (LENGTH_BYTES + size))
  let offset = writeHeader(buffer, oid, values.length)
  for (const value of values) {
    const isNull = value === null || value === undefined
    offset = buffer.writeInt32BE(isNull ? -1 : size, offset)
    if (isNull) continue
    write(buffer, value, offset)
    offset += size
  }
  return buffer.subarray(0, offset)
}

/** @param lengths of the elements in bytes; -1: null */
function variableSize(
  lengths: readonly number[],
  oid: number,
  write: (buffer: Buffer, index: number, offset: number) => void,
): Buffer {
  const bytes = lengths.reduce((sum, length) => sum + LENGTH_BYTES + Math.max(0, length), HEADER_BYTES)
  const buffer = Buffer.allocUnsafe(bytes)
  let offset = writeHeader(buffer, oid, lengths.length)
  for (let index = 0; index < lengths.length; index++) {
    const length = lengths[index] ?? -1
    offset = buffer.writeInt32BE(length, offset)
    if (length < 0) continue
    write(buffer, index, offset)
    offset += length
  }
  return buffer.subarray(0, offset)
}

/** @returns where the elements begin, or the end of an empty array */
function writeHeader(buffer: Buffer, oid: number, length: number): number {
  buffer.writeInt32BE(length === 0 ? 0 : 1, 0)
  buffer.writeInt32BE(1, 4) // there may be nulls
  buffer.writeInt32BE(oid, 8)
  if (length === 0) return 12
  buffer.writeInt32BE(length, 12)
  return buffer.writeInt32BE(1, 16)
}

const TWO_TO_32 = 2 ** 32

/** Avoids the bigint that `writeBigInt64BE` takes, which is one object per value. */
function writeInt64(buffer: Buffer, value: number, offset: number): void {
  buffer.writeInt32BE(Math.floor(value / TWO_TO_32), offset)
  buffer.writeUInt32BE(value - Math.floor(value / TWO_TO_32) * TWO_TO_32, offset + 4)
}
