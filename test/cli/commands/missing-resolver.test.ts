import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { Workspace } from '../../support/terminal.ts'

const SCHEMA_FILE = `
const title = { kind: 'string', required: true }
const resolvers = { title: (local, remote) => [...new Set((local + ' ' + remote).split(' '))].sort().join(' ') }
export default { version: 1, collections: { todos: { fields: { title }, resolvers } } }
`
const MISSING =
  'error: The resolver of "todos.title" is missing here: it is a function, and the database keeps only its hash. ' +
  "Name the app's present schema with --schema or --config.\n"

let workspace: Workspace
let schema: SchemaDefinition

/** What the app has written through the library, and a device that was offline meanwhile. */
const author = new OperationAuthor('a')
const written = [
  author.insert('r', { title: 'a' }),
  author.update('r', { title: 'b' }, { previousData: { title: 'a' } }),
  author.update('r', { title: 'c' }, { previousData: { title: 'b' } }),
]
const conflicting = author.update('r', { title: 'd' }, { previousData: { title: 'a' } })
const last = author.insert('s', { title: 'x' }) // the end of the log stays

beforeEach(async () => {
  workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE } })
  schema = (await import(pathToFileURL(workspace.path('schema.mjs')).href)).default
})

afterEach(() => workspace[Symbol.dispose]())

async function write(name: string, operations: readonly Operation[]): Promise<void> {
  const store = createSqliteServerStore({ filename: workspace.path(name), durability: 'normal' })
  await store.setSchema(schema)
  await appendAll(store, operations)
  await store.close()
}

async function titleIn(name: string): Promise<unknown> {
  const { stdout } = await workspace.run(['query', 'todos', '--fields', 'id,title', '--db', name])
  return JSON.parse(stdout).find(({ id }: { id: string }) => id === 'r')?.title
}

describe('without the app’s schema', () => {
  test('compact keeps what a resolver needs', async () => {
    await write('app.db', [...written, last])

    const { code, stderr } = await workspace.run(['compact', '--db', 'app.db'])

    expect(code).toBe(0)
    expect(stderr).toContain('nothing to drop of 2 records')
  })

  test('migrate --rebuild is refused, and changes nothing', async () => {
    await write('app.db', [...written, conflicting])

    const refused = await workspace.run(['migrate', '--rebuild', '--db', 'app.db'])

    expect(refused).toEqual({ code: 2, stdout: '', stderr: MISSING })
    expect(await titleIn('app.db')).toBe('c d')
    const rebuilt = await workspace.run(['migrate', '--rebuild', '--db', 'app.db', '--schema', 'schema.mjs'])
    expect(rebuilt.code).toBe(0)
    expect(await titleIn('app.db')).toBe('c d')
  })

  test.each([
    ['a file', 'whole.backup'],
    ['what is piped in', '-'],
  ])('restore refuses %s, and merges it by the resolvers once it is given them', async (_, source) => {
    await write('app.db', [...written, conflicting])
    await write('other.db', written)
    await workspace.run(['backup', 'whole.backup', '--db', 'app.db'])
    const stdin = [readFileSync(workspace.path('whole.backup'))]
    const restore = ['restore', source, '--db', 'other.db', '--merge']

    const refused = await workspace.run(restore, { stdin })

    expect(refused).toEqual({ code: 2, stdout: '', stderr: MISSING })
    expect(await titleIn('other.db')).toBe('c')
    const merged = await workspace.run([...restore, '--schema', 'schema.mjs'], { stdin })
    expect(merged).toMatchObject({ code: 0 })
    expect(await titleIn('other.db')).toBe('c d')
  })
})

test('a backup that is piped in changes no table before it has proved whole', async () => {
  const { code } = await workspace.run(['restore', '-', '--db', 'new.db', '--schema', 'schema.mjs'], {
    stdin: [Buffer.from('no backup')],
  })

  expect(code).toBe(1)
  const store = createSqliteServerStore({ filename: workspace.path('new.db') })
  expect(store.getSchema()).toBeNull()
  await store.close()
})
