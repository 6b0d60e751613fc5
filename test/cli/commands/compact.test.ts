import { statSync } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { OperationAuthor } from '../../support/operation-author.ts'
import { Workspace } from '../../support/terminal.ts'
import { SCHEMA_FILE, schema } from '../todos-schema.ts'

let workspace: Workspace

beforeEach(async () => {
  workspace = new Workspace()
  const store = createSqliteServerStore({ filename: workspace.path('kora-server.db'), durability: 'normal' })
  await store.setSchema(schema)
  const author = new OperationAuthor('phone')
  const operations = [author.insert('r1', { title: 'milk' })]
  for (let edit = 0; edit < 300; edit++)
    operations.push(author.update('r1', { title: `${edit} `.repeat(100) }))
  operations.push(author.insert('r2', { title: 'bread' }), author.delete('r2'), author.insert('r3', {}))
  for (const operation of operations) await store.applyRemoteOperation(operation)
  await store.close()
  return () => workspace[Symbol.dispose]()
})

describe('compact', () => {
  test('is told of before a field is merged of which operations were dropped', async () => {
    const resolve = SCHEMA_FILE.replace('"resolvers":{}', '"resolvers":{"title":(local) => local}')
    workspace.write('resolved.mjs', resolve)
    const plan = ['migrate', '--plan', '--schema', 'resolved.mjs']

    const before = await workspace.run(plan)
    await workspace.run(['compact'])
    const after = await workspace.run(plan)

    expect(before.stderr).toContain('todos: records are folded again')
    expect(before.stderr).not.toContain('compacted')
    expect(after.stderr).toContain(
      'todos: field "title" has a resolver now: values whose history was compacted',
    )
  })

  test('says what it would drop, drops it, and finds nothing more', async () => {
    const plan = await workspace.run(['compact', '--plan'])
    const run = await workspace.run(['compact', '--format', 'json'])
    const again = await workspace.run(['compact'])

    expect(plan).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^collection +operations .*\ntodos +299 /),
    })
    expect(plan.stderr).toMatch(/kora-server\.db: 299 operations would be dropped, .* of 3 records, in /)
    expect(run.code).toBe(0)
    expect(JSON.parse(run.stdout)).toMatchObject({ plan: false, operations: 299, records: 3, tombstones: 0 })
    expect(run.stderr).toContain(': 299 operations dropped, ')
    expect(again).toMatchObject({ code: 0, stdout: '' })
    expect(again.stderr).toContain('nothing to drop of 3 records')
  })

  test('forgets deleted records when it is told to, and tells in the log of what is gone', async () => {
    const early = await workspace.run(['compact', '--older-than', '3650d', '--tombstones', '1h'])
    expect(early.stderr).toContain('nothing to drop of 3 records') // the deletion was stored just now
    await workspace.run(['compact', '--older-than', '3650d', '--tombstones', '0s'])
    await workspace.run(['compact'])

    const all = await workspace.run(['query', 'todos', '--include-deleted', '--fields', 'id'])
    expect(JSON.parse(all.stdout)).toEqual([{ id: 'r1' }, { id: 'r3' }])
    const log = await workspace.run(['log', '--record', 'r1', '--format', 'ndjson'])
    expect(log.stdout.trim().split('\n')).toHaveLength(2)
    expect(log.stderr).toBe('299 operations of this record, superseded by later ones, were dropped.\n')
  })

  test('gives space back to the disk', async () => {
    const before = statSync(workspace.path('kora-server.db')).size

    expect(await workspace.run(['compact', '--vacuum'])).toMatchObject({ code: 0 })

    expect(statSync(workspace.path('kora-server.db')).size).toBeLessThan(before / 2)
  })

  test.each<[string, string[], string]>([
    ['an age that is none', ['--older-than', 'long'], 'Write how long ago, such as 12h or 30d.'],
    ['a plan that would write', ['--plan', '--vacuum'], '--plan and --vacuum cannot be used together.'],
    ['the memory store', ['--store', 'memory'], 'The memory store lives inside the running server'],
    ['a store that is not there', ['--db', 'other.db'], 'other.db does not exist.'],
  ])('refuses %s', async (_, args, message) => {
    const { code, stderr } = await workspace.run(['compact', ...args])

    expect(code).toBeGreaterThan(0)
    expect(stderr).toContain(message)
  })
})
