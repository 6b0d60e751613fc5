import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { openDatabase } from '../../../src/store/sqlite/open-database.ts'
import { SqliteCore } from '../../../src/store/sqlite/sqlite-core.ts'

test('who is rolled back learns why, also where the store cannot be read then', async () => {
  const db = openDatabase({ filename: ':memory:', durability: 'normal', isReadOnly: false })
  const options = { filename: ':memory:', runtime: systemRuntime(), chosenNodeId: 'server' }
  const core = new SqliteCore(db, options)
  const failing = core.writes.run(() => {
    db.close()
    throw new Error('what went wrong')
  })
  await expect(failing).rejects.toThrow('what went wrong')
})
