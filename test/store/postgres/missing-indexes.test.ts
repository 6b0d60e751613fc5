import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { createPostgresServerStore } from '../../../src/index.ts'
import type { Damage } from '../../../src/store/damage/damage.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { findMissingIndexes } from '../../../src/store/postgres/missing-indexes.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-app.ts'

const NEEDED = `SELECT c.relname AS name, t.relname AS table, ' USING ' || split_part(pg_get_indexdef(c.oid), ' USING ', 2) AS definition
  FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
  WHERE t.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_kora\\_ix\\_%' ORDER BY 1`

test('every index that goes missing is named, with the statement that makes it again', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const store = await createPostgresServerStore({ connectionString })
  await store.setSchema(todoSchema)
  await store.close()
  const db = new PostgresDatabase({ connectionString, readOnly: true }, systemRuntime())
  const find = (): Promise<readonly Damage[]> => findMissingIndexes(db, Object.keys(todoSchema.collections))
  try {
    expect(await find()).toEqual([])
    const indexes = await database.query(NEEDED)
    expect(indexes.length).toBeGreaterThan(30)
    for (const { name, table, definition } of indexes) {
      await database.query(
        `DO $$ BEGIN EXECUTE 'DROP INDEX "${name}"';
          EXCEPTION WHEN dependent_objects_still_exist THEN
            EXECUTE 'ALTER TABLE "${table}" DROP CONSTRAINT "${name}"'; END $$`,
      )
      const damage = await find()
      expect(damage.map(({ place }) => place)).toEqual([`table ${table}`])
      const [, statement = ''] = /(CREATE .*) makes it again$/.exec(damage[0]?.problem ?? '') ?? []
      expect(statement).toContain(definition)
      await database.query(statement)
      expect(await find(), `${name}`).toEqual([])
    }
  } finally {
    await db.close()
  }
})

test('an index that is not valid is named, with the statement that writes it anew', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  await (await createPostgresServerStore({ connectionString })).close()
  await database.query(
    `UPDATE pg_index SET indisvalid = false WHERE indexrelid = '_kora_operations_record_seq_idx'::regclass`,
  )
  const db = new PostgresDatabase({ connectionString, readOnly: true }, systemRuntime())
  try {
    const [damage, ...others] = await findMissingIndexes(db, [])
    expect(others).toEqual([])
    expect(damage?.place).toBe('index _kora_operations_record_seq_idx')
    await database.query(/(REINDEX .*) writes it anew$/.exec(damage?.problem ?? '')?.[1] ?? '')
    expect(await findMissingIndexes(db, [])).toEqual([])
  } finally {
    await db.close()
  }
})

test('an index that the operator stores in another way is not missed', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  await (await createPostgresServerStore({ connectionString })).close()
  await database.query('ALTER INDEX _kora_operations_record_seq_idx SET (fillfactor = 80)')
  await database.query('ALTER INDEX _kora_operations_id_idx SET (fillfactor = 80)')
  const db = new PostgresDatabase({ connectionString, readOnly: true }, systemRuntime())
  try {
    expect(await findMissingIndexes(db, [])).toEqual([])
  } finally {
    await db.close()
  }
})
