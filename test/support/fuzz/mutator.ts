import { randomOf } from '../socket-client.ts'

/** What parsers, databases and other people's parsers have stumbled over. */
const TOKENS: readonly string[] = [
  'null',
  'true',
  '-0',
  '1e400',
  '-1',
  '9007199254740993',
  '"__proto__":{},',
  '"constructor":1,',
  '"toString":null,',
  '\\u0000',
  '\\ud800',
  '[[[[[[[[',
  '{"a":{"a":',
  '"',
  ',',
  '\\',
  '\x00',
  '\x0a\x09handshake',
  '\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01',
  '\xff\xff\xff\xff\x0f',
  '\xff',
  'handshake',
  'operation-batch',
  'acknowledgment',
]

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  -0,
  -1,
  0.5,
  2 ** 31,
  2 ** 53 + 2,
  1e308,
  '',
  '\u0000',
  '\ud800',
  '__proto__',
  'constructor',
  'toString',
  'x'.repeat(300),
  'AAAA',
  [],
  {},
  [[]],
  { a: { a: { a: {} } } },
  { type: 'increment', value: 1 },
]

/** Changes what was once sent a little, in ways that a seed determines. */
export class Mutator {
  readonly random: () => number

  constructor(seed: number) {
    this.random = randomOf(seed)
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit)
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)]
    if (item === undefined && items.length === 0) throw new Error('Nothing to pick from')
    return item as Item // in range
  }

  /** One to four changes of bytes; `others` lend pieces. */
  bytes(source: Uint8Array, others: readonly Uint8Array[]): Buffer {
    let bytes: Buffer = Buffer.from(source)
    for (let changes = 1 + this.below(4); changes > 0; changes--) bytes = this.#change(bytes, others)
    return bytes
  }

  /** The value with one to three parts of it replaced, removed, renamed or moved. */
  json(source: unknown): unknown {
    let value = source
    for (let changes = 1 + this.below(3); changes > 0; changes--) value = this.#changeJson(value)
    return value
  }

  #change(bytes: Buffer, others: readonly Uint8Array[]): Buffer {
    const start = this.below(bytes.length + 1)
    const length = 1 + this.below(this.random() < 0.2 ? 200 : 8)
    const before = bytes.subarray(0, start)
    const part = Buffer.from(bytes.subarray(start, start + length))
    const after = bytes.subarray(start + length)
    switch (this.below(8)) {
      case 0: // a bit
        if (part.length > 0) part[0] = (part[0] ?? 0) ^ (1 << this.below(8))
        return Buffer.concat([before, part, after])
      case 1:
        return Buffer.concat([before, part.map(() => this.below(256)), after])
      case 2:
        return Buffer.concat([before, after])
      case 3:
        return Buffer.concat([before, Buffer.from(this.pick(TOKENS), 'latin1'), part, after])
      case 4:
        return Buffer.concat([before, ...Array.from({ length: 1 + this.below(20) }, () => part), after])
      case 5:
        return before
      case 6: {
        const other = this.pick(others)
        return Buffer.concat([before, other.subarray(this.below(other.length))])
      }
      default: // a number
        return Buffer.concat([before, Buffer.from(String(this.pick([0, -1, 2 ** 53, 1e21, 65_536]))), after])
    }
  }

  #changeJson(value: unknown): unknown {
    const isLeaf = typeof value !== 'object' || value === null
    if (isLeaf || this.random() < 0.1) return this.pick(VALUES)
    if (Array.isArray(value)) return this.#changeArray(value)
    const entries = Object.entries(value)
    if (entries.length === 0) return { [this.pick(NAMES)]: this.pick(VALUES) }
    const index = this.below(entries.length)
    const [name, child] = entries[index] ?? ['', null]
    switch (this.below(6)) {
      case 0:
        entries.splice(index, 1)
        break
      case 1:
        entries[index] = [this.pick(NAMES), child]
        break
      case 2:
        entries.push([this.pick(NAMES), this.pick(VALUES)])
        break
      default:
        entries[index] = [name, this.#changeJson(child)]
    }
    return Object.fromEntries(entries)
  }

  #changeArray(value: readonly unknown[]): unknown[] {
    const copy = [...value]
    const index = this.below(copy.length + 1)
    if (index === copy.length) return [...copy, this.pick(VALUES)]
    switch (this.below(4)) {
      case 0:
        copy.splice(index, 1)
        break
      case 1:
        copy.push(...Array.from({ length: 1 + this.below(3) }, () => copy[index]))
        break
      default:
        copy[index] = this.#changeJson(copy[index])
    }
    return copy
  }
}

const NAMES: readonly string[] = [
  '',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  'length',
  'id',
  'type',
  'data',
  'a'.repeat(64),
  'a\u0000b',
  '\ud800',
  '"; drop table todos; --',
  '_kora_operations',
]
