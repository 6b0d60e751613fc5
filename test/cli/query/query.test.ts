import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as Y from 'yjs'
import { encodeBytes } from '../../../src/core/record/binary-values.ts'
import { Workspace } from '../../support/terminal.ts'
import { manyTodos, seedDatabase } from '../seed.ts'

let workspace: Workspace

beforeAll(async () => {
  workspace = new Workspace()
  await seedDatabase(
    workspace.path('kora-server.db'),
    [
      { title: 'Buy milk', done: true, estimate: 2, tags: ['home', 'shop'], notes: richtext('two litres') },
      { title: 'Write, "quoted"', done: false, dueAt: Date.UTC(2025, 5, 2), userId: 'user-1' },
      { title: '', done: false, estimate: -1.5 },
      { title: 'Gone', done: false },
    ],
    { deletesLast: true },
  )
  await seedDatabase(workspace.path('many.db'), manyTodos(2345))
})

afterAll(() => workspace[Symbol.dispose]())

function richtext(text: string) {
  const document = new Y.Doc()
  document.getText('content').insert(0, text)
  return encodeBytes(Y.encodeStateAsUpdate(document))
}

async function queryJson(...args: string[]) {
  const { stdout, stderr, code } = await workspace.run(['query', 'todos', ...args])
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 })
  return JSON.parse(stdout)
}

describe('records', () => {
  test('are printed as JSON with the types of their fields', async () => {
    const records = await queryJson()

    expect(records).toHaveLength(3)
    expect(records[0]).toEqual({
      id: 'todo-1',
      title: 'Buy milk',
      done: true,
      estimate: 2,
      dueAt: null,
      tags: ['home', 'shop'],
      notes: 'two litres',
      userId: null,
      _created_at: Date.UTC(2025, 5, 1) + 1,
      _updated_at: Date.UTC(2025, 5, 1) + 1,
    })
  })

  test.each([
    [['done=true'], ['todo-1']],
    [['done=false'], ['todo-2', 'todo-3']],
    [['title='], ['todo-3']],
    [['estimate=-1.5'], ['todo-3']],
    [['userId:=null'], ['todo-1', 'todo-3']],
    [['dueAt=2025-06-02'], ['todo-2']],
    [['tags=["home","shop"]'], ['todo-1']],
    [['done=false', 'userId=user-1'], ['todo-2']],
    [['id=todo-2'], ['todo-2']],
    [['title=nothing'], []],
  ])('match %s', async (conditions, ids) => {
    const records = await queryJson(...conditions.flatMap((condition) => ['--where', condition]))

    expect(records.map((record: { id: string }) => record.id)).toEqual(ids)
  })

  test('are sorted, limited and skipped', async () => {
    const titles = async (...args: string[]) =>
      (await queryJson('--order-by', 'title', ...args)).map((record: { title: string }) => record.title)

    expect(await titles()).toEqual(['', 'Buy milk', 'Write, "quoted"'])
    expect(await titles('--desc', '--limit', '1')).toEqual(['Write, "quoted"'])
    expect(await titles('--offset', '1')).toEqual(['Buy milk', 'Write, "quoted"'])
    expect(await titles('--limit', '0')).toEqual([])
  })

  test('include deleted ones when asked', async () => {
    const records = await queryJson('--include-deleted', '--fields', 'id,_deleted')

    expect(records).toEqual([
      { id: 'todo-1', _deleted: false },
      { id: 'todo-2', _deleted: false },
      { id: 'todo-3', _deleted: false },
      { id: 'todo-4', _deleted: true },
    ])
    expect(await queryJson('--include-deleted', '--count')).toEqual({ count: 4 })
  })

  test('show rich text as its text, and with --raw its state', async () => {
    const [readable] = await queryJson('--fields', 'notes', '--limit', '1')
    const [raw] = await queryJson('--fields', 'notes', '--limit', '1', '--raw')

    expect(readable).toEqual({ notes: 'two litres' })
    expect(raw).toEqual({ notes: richtextOfSameText(raw.notes) })
  })

  test('are one JSON object per line as ndjson', async () => {
    const { stdout } = await workspace.run(['query', 'todos', '--format', 'ndjson', '--fields', 'title,done'])

    expect(stdout).toBe(
      '{"title":"Buy milk","done":true}\n{"title":"Write, \\"quoted\\"","done":false}\n{"title":"","done":false}\n',
    )
  })

  test('are quoted where CSV needs it', async () => {
    const { stdout } = await workspace.run([
      'query',
      'todos',
      '--format',
      'csv',
      '--fields',
      'id,title,done,estimate,tags',
    ])

    expect(stdout).toBe(
      'id,title,done,estimate,tags\n' +
        'todo-1,Buy milk,true,2,"[""home"",""shop""]"\n' +
        'todo-2,"Write, ""quoted""",false,,[]\n' +
        'todo-3,"",false,-1.5,[]\n',
    )
  })
})

describe('one record', () => {
  test('is printed by id', async () => {
    expect(await queryJson('--id', 'todo-2', '--fields', 'title')).toEqual({ title: 'Write, "quoted"' })
  })

  test.each(['todo-4', 'todo-5', ''])('that is not there (%s) is null with exit code 1', async (id) => {
    expect(await workspace.run(['query', 'todos', '--id', id])).toEqual({
      code: 1,
      stdout: 'null\n',
      stderr: '',
    })
  })

  test('that is deleted is shown when asked', async () => {
    expect(await queryJson('--id', 'todo-4', '--include-deleted')).toMatchObject({
      title: 'Gone',
      _deleted: true,
    })
  })
})

describe('counts', () => {
  test('follow the filter and the format', async () => {
    const count = async (...args: string[]) =>
      (await workspace.run(['query', 'todos', '--count', ...args])).stdout

    expect(await count()).toBe('{"count":3}\n')
    expect(await count('--where', 'done=false')).toBe('{"count":2}\n')
    expect(await count('--where', 'notes:=null')).toBe('{"count":2}\n') // of rich text null alone
    expect(await count('--format', 'ndjson')).toBe('{"count":3}\n')
    expect(await count('--format', 'table')).toBe('3\n')
    expect(await count('--format', 'csv')).toBe('count\n3\n')
  })
})

describe('many records', () => {
  test.each(['json', 'ndjson', 'csv'])('are all printed as %s, each once and in order', async (format) => {
    const { stdout } = await workspace.run([
      'query',
      'todos',
      '--db',
      'many.db',
      '--order-by',
      'title',
      '--fields',
      'title',
      '--format',
      format,
    ])

    const titles = stdout.match(/title \d{5}/g)
    expect(titles).toEqual(manyTodos(2345).map(({ title }) => title))
    if (format === 'json') expect(JSON.parse(stdout)).toHaveLength(2345)
  })

  test('stop at twenty on a terminal, which says how to go on', async () => {
    const { stdout, stderr } = await workspace.run(['query', 'todos', '--db', 'many.db'], {
      isTerminal: true,
      columns: 100,
    })

    expect(stdout.trimEnd().split('\n')).toHaveLength(21)
    expect(stderr).toBe('20 of 2,345 records. More: --offset 20, or a larger --limit.\n')
  })

  test('keep to the width of the terminal', async () => {
    const { stdout, stderr } = await workspace.run(['query', 'todos'], { isTerminal: true, columns: 60 })

    expect(stdout.split('\n')[0]).toContain('title')
    expect(stderr).toBe('Too narrow for userId, _updated_at; --fields chooses the columns.\n')
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60)
  })

  test('are whole in a table that is piped', async () => {
    const { stdout, stderr } = await workspace.run(['query', 'todos', '--format', 'table'])

    expect(stdout.split('\n')[0]?.split(/ +/).slice(-2)).toEqual(['userId', '_updated_at'])
    expect(stdout).not.toContain('…')
    expect(stderr).toBe('')
  })
})

describe('mistakes', () => {
  test.each([
    ['todo', [], 2, 'Unknown collection "todo". The schema has: projects, todos. Did you mean "todos"?'],
    ['__proto__', [], 2, 'Unknown collection "__proto__"'],
    ['todos', ['--where', 'titel=x'], 2, 'Did you mean "title"?'],
    ['todos', ['--order-by', 'tittle'], 2, 'Did you mean "title"?'],
    ['todos', ['--fields', 'id,nothing'], 2, 'Unknown field "nothing"'],
    ['todos', ['--fields', '_deleted'], 2, 'Unknown field "_deleted"'],
    ['todos', ['--where', 'done=maybe'], 2, '--where: Field "done" is a boolean'],
    ['todos', ['--where', 'notes=two litres'], 2, 'by the value of "notes", which is rich text'],
    ['todos', ['--count', '--where', 'notes='], 2, 'Only null can be asked for'],
    ['todos', ['--limit', '-1'], 2, 'It must be a whole number from 0.'],
    ['todos', ['--format', 'xml'], 2, 'Allowed choices are table, json, ndjson, csv.'],
    ['todos', ['--id', 'a', '--count'], 2, '--id and --count cannot be used together'],
    ['todos', ['--db', 'missing.db'], 1, 'missing.db does not exist.'],
    ['todos', ['--store', 'memory'], 2, 'The memory store has no tables without a schema.'],
  ])('query %s %s ends with a message', async (collection, args, code, message) => {
    const run = await workspace.run(['query', collection, ...args])

    expect(run).toMatchObject({ code, stdout: '' })
    expect(run.stderr).toContain(message)
    expect(run.stderr).not.toMatch(/^\s+at /m)
  })

  test('a store without tables is told apart from an empty one', async () => {
    using fresh = new Workspace()
    await fresh.run(['migrate'])

    expect(await fresh.run(['query', 'todos'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'error: kora-server.db has no tables yet. Run "kora-server migrate --schema <file>".\n',
    })
  })

  test('another file is not taken for a store', async () => {
    using fresh = new Workspace({ files: { 'other.db': 'no database at all, just some text'.repeat(100) } })

    const run = await fresh.run(['query', 'todos', '--db', 'other.db'])

    expect(run.code).toBe(1)
    expect(run.stderr).toContain('not an SQLite database')
  })
})

function richtextOfSameText(value: { $koraBytes: string }) {
  const document = new Y.Doc()
  Y.applyUpdate(document, Buffer.from(value.$koraBytes, 'base64'))
  expect(document.getText('content').toString()).toBe('two litres')
  return value
}
