import pg from 'pg'
import { expect, test } from 'vitest'
import {
  bigints,
  booleans,
  byteas,
  doubles,
  integers,
  jsonbs,
  smallints,
  texts,
} from '../../../src/store/postgres/array-parameters.ts'
import { openTestDatabase } from '../../support/postgres.ts'

const SAFE = [0, 1, -1, 2 ** 31, -(2 ** 31) - 1, 2 ** 32, -(2 ** 32), Number.MAX_SAFE_INTEGER, -(2 ** 53 - 1)]

test.each([
  ['boolean', booleans([true, false]), [true, false]],
  ['smallint', smallints([0, -1, 32_767, -32_768, null, undefined]), [0, -1, 32_767, -32_768, null, null]],
  ['integer', integers([0, -1, 2 ** 31 - 1, -(2 ** 31), null]), [0, -1, 2 ** 31 - 1, -(2 ** 31), null]],
  ['bigint', bigints([...SAFE, null]), [...SAFE.map(String), null]],
  ['double precision', doubles([0.1, -1e300, null]), [0.1, -1e300, null]],
  ['text', texts(['', 'a"b\\c{},', 'ü😀', 'NULL', null]), ['', 'a"b\\c{},', 'ü😀', 'NULL', null]],
  ['bytea', byteas([new Uint8Array([0, 255]), null]), [Buffer.of(0, 255), null]],
  ['jsonb', jsonbs(['{"a":"ü"}', null]), [{ a: 'ü' }, null]],
  ['text', texts([]), []],
])('the database reads an array of %s as it was given', async (type, parameter, expected) => {
  await using database = await openTestDatabase()
  const client = new pg.Client({ connectionString: database.connectionString })
  await client.connect()

  const { rows } = await client.query(
    `SELECT v FROM unnest($1::${type}[]) WITH ORDINALITY AS u (v, position) ORDER BY position`,
    [parameter],
  )

  await client.end()
  expect(rows.map(({ v }) => v)).toEqual(expected)
})
