import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'

const RECORDS = 2000

/** Another process, which applies the operations of a file to a store, one by one. */
const WRITER = `
  import { readFileSync } from 'node:fs'
  import { createSqliteServerStore } from ${JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href)}
  const [filename, operations] = process.argv.slice(-2)
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  for (const operation of JSON.parse(readFileSync(operations, 'utf8'))) await store.applyRemoteOperation(operation)
  await store.close()
`

test('a reader is answered from one moment, beside a process that changes the records', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const author = new OperationAuthor('a')
  const ids = Array.from({ length: RECORDS }, (_, index) => `r${index}`)
  await appendAll(
    store,
    ids.map((id) => author.insert(id, { title: 'x' })),
  )
  await store.close()
  const operations = join(directory.path, 'operations.json')
  writeFileSync(operations, JSON.stringify(ids.map((id) => author.update(id, { title: 'y' }))))

  const reader = createSqliteServerStore({ filename, readOnly: true })
  const writer = spawn(process.execPath, ['--input-type=module', '-e', WRITER, filename, operations], {
    stdio: 'inherit',
  })
  let isWriting = true
  const ended = once(writer, 'exit').finally(() => {
    isWriting = false
  })
  while (isWriting) {
    expect(await reader.materializeCollection('todos')).toHaveLength(RECORDS)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(await ended).toEqual([0, null])
  const titles = (await reader.materializeCollection('todos')).map(({ title }) => title)
  expect(new Set(titles)).toEqual(new Set(['y']))
  await reader.close()
})
