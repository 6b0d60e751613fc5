import fc from 'fast-check'
import { expect, test } from 'vitest'
import { operationToWireJson } from '../../../src/protocol/parse-operation.ts'
import { serializeScopeChanges } from '../../../src/store/append/scope-changes.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import {
  type ChecksummedRow,
  ENTRY_TEXT,
  parseEntryText,
  rowChecksum,
} from '../../../src/store/sqlite/entry-row.ts'
import { LAYOUT_STATEMENTS } from '../../../src/store/sqlite/layout.ts'
import { OperationAuthor } from '../../support/operation-author.ts'

const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const text = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1 }),
  fc.constantFrom('id', '{"id":"', '" ', '\\'),
)
const scopeChange = fc.record(
  { field: text, after: fc.option(text, { nil: undefined }), before: fc.record({ key: text }) },
  { requiredKeys: ['field', 'after'] },
)
const wireJson = fc
  .tuple(fc.string(), text)
  .map(([title, recordId]) => operationToWireJson(new OperationAuthor('a').insert(recordId, { title })))
const row: fc.Arbitrary<ChecksummedRow> = fc.record({
  seq: number,
  node: number,
  sequenceNumber: number,
  record: number,
  collection: number,
  kind: fc.constantFrom(0, 1),
  scope: fc.array(scopeChange, { maxLength: 3 }).map(serializeScopeChanges),
  wireJson,
})

function openLog() {
  const db = new (loadSqliteDriver())(':memory:')
  for (const statement of LAYOUT_STATEMENTS) db.exec(statement)
  const insert = db.prepare('INSERT OR REPLACE INTO _kora_operations VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?)')
  const read = db
    .prepare<[number], string>(`SELECT ${ENTRY_TEXT} FROM _kora_operations WHERE seq = ?`)
    .pluck()
  const write = (written: ChecksummedRow, checksum = rowChecksum(written)): string => {
    const { seq, node, sequenceNumber, record, collection, kind, scope } = written
    insert.run(seq, node, sequenceNumber, record, collection, kind, scope, written.wireJson, checksum)
    return read.get(seq) ?? ''
  }
  return { db, write }
}

test('a row comes back from its text as it was written, whatever its scope and its operation say', () => {
  const { db, write } = openLog()
  fc.assert(
    fc.property(row, (written) => {
      expect(parseEntryText(write(written))).toEqual(written)
    }),
  )
  db.close()
})

test('a row that is not what its checksum was taken of is not returned', () => {
  const { db, write } = openLog()
  fc.assert(
    fc.property(row, fc.integer({ min: 1, max: 0xffff_ffff }), (written, difference) => {
      const wrong = (rowChecksum(written) ^ difference) >>> 0
      expect(() => parseEntryText(write(written, wrong))).toThrow(
        `Row ${written.seq} of _kora_operations is damaged`,
      )
    }),
  )
  db.close()
})
