import { expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { computeOperationId } from '../../../src/core/operation-id.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import '../prepare-rich-text.ts'
import { type HeldRecord, type IsLate, isOfLateChange } from './late-texts.ts'

const schema = defineSchema({
  version: 1,
  collections: {
    notes: { fields: { title: t.string(), done: t.boolean().default(false), body: t.richtext().optional() } },
  },
})

/** The author's: an insert, a text, and the text that replaced it. */
const inserted = operation('author', 1, 1_000, { title: 'a', done: false })
const earlier = operation('author', 2, 2_000, { body: 'earlier' }, {})
const later = operation('author', 3, 3_000, { body: 'later' }, { body: 'earlier' })
/** What the device itself wrote meanwhile, into another field. */
const own = operation('reader', 1, 4_000, { done: true }, { done: false })

const STORED: readonly Operation[] = [inserted, later, earlier, own]
const earlierIsLate: IsLate = (a, b) => a === earlier && b === later

function onReader(held: readonly Operation[], history = STORED): HeldRecord {
  return { nodeId: 'reader', schema, held, history }
}

const FIELD = { field: 'body', shown: 'earlier', expected: 'later' }

test('a device that wrote into the record keeps the earlier text, if that was stored late', () => {
  expect(isOfLateChange(onReader([inserted, own, later, earlier]), FIELD, earlierIsLate)).toBe(true)
})

test('so does one into whose record somebody else wrote', () => {
  const ofOther = operation('other', 1, 4_000, { title: 'b' }, { title: 'a' })
  const stored = [inserted, ofOther, later, earlier]

  expect(isOfLateChange(onReader(stored, stored), FIELD, earlierIsLate)).toBe(true)
})

test('so does one whose text the later change has brought back to what the earlier one replaced', () => {
  const first = operation('author', 2, 2_000, { body: 'first' }, {})
  const second = operation('author', 3, 3_000, { body: 'second' }, { body: 'first' })
  const firstAgain = operation('author', 4, 4_000, { body: 'first' }, { body: 'second' })
  const stored = [inserted, first, firstAgain, second]
  const isLate: IsLate = (a, b) => a === second && b === firstAgain

  expect(
    isOfLateChange(onReader(stored, stored), { field: 'body', shown: 'second', expected: 'first' }, isLate),
  ).toBe(true)
})

test('it is a fault where the server had the earlier change in time', () => {
  expect(isOfLateChange(onReader([inserted, own, later, earlier]), FIELD, () => false)).toBe(false)
  expect(isOfLateChange(onReader([inserted, own, later, earlier]), FIELD, (a) => a === later)).toBe(false)
})

test('it is a fault where the device was not sent all of the record', () => {
  expect(isOfLateChange(onReader([inserted, own, earlier]), FIELD, earlierIsLate)).toBe(false)
})

test('it is a fault where the device was sent the changes in another order than that of the log', () => {
  const stored = [inserted, earlier, later, own]

  expect(isOfLateChange(onReader([inserted, own, later, earlier], stored), FIELD, earlierIsLate)).toBe(false)
})

test('it is a fault where what is stored does not make the text that the device shows', () => {
  const taken = onReader([inserted, own, later, earlier])

  expect(isOfLateChange(taken, { ...FIELD, shown: 'something else' }, earlierIsLate)).toBe(false)
  expect(isOfLateChange(taken, { ...FIELD, shown: undefined }, earlierIsLate)).toBe(false)
})

test('it is a fault where the table has a text that the device would not have had in time either', () => {
  const taken = onReader([inserted, own, later, earlier])

  expect(isOfLateChange(taken, { ...FIELD, expected: 'something else' }, earlierIsLate)).toBe(false)
})

test('a device that has not seen the record change takes the later text, and has no excuse for another', () => {
  const stored = [inserted, later, earlier]

  expect(isOfLateChange(onReader(stored, stored), FIELD, earlierIsLate)).toBe(false)
})

function operation(
  nodeId: string,
  sequenceNumber: number,
  wallTime: number,
  data: FieldValues,
  previousData: FieldValues | null = null,
): Operation {
  const content = {
    nodeId,
    type: previousData === null ? ('insert' as const) : ('update' as const),
    collection: 'notes',
    recordId: 'a note',
    data,
    previousData,
    timestamp: { wallTime, logical: 0, nodeId },
    sequenceNumber,
    causalDeps: [],
    schemaVersion: 1,
  }
  return { id: computeOperationId(content), ...content }
}
