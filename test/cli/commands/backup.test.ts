import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { openS3Server } from '../../support/s3-server.ts'
import { SimulatedProcess } from '../../support/simulated-process.ts'
import { Workspace } from '../../support/terminal.ts'
import { manyTodos, seedDatabase } from '../seed.ts'
import { SCHEMA_FILE } from '../todos-schema.ts'

const RESOLVING_SCHEMA = `export default {
  version: 1,
  collections: {
    todos: {
      fields: { sum: { kind: 'number' } },
      resolvers: { sum: (local, remote, base) => local + remote - base },
    },
  },
}
`

let workspace: Workspace

beforeAll(async () => {
  workspace = new Workspace()
  await seedDatabase(workspace.path('kora-server.db'), manyTodos(1500))
  const { code, stderr } = await workspace.run(['backup', 'whole.backup'])
  expect({ code, stderr }).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/^1,500 operations in whole\.backup, /),
  })
})

afterAll(() => workspace[Symbol.dispose]())

async function operationIds(file: string): Promise<string[]> {
  const store = createSqliteServerStore({ filename: workspace.path(file), readOnly: true })
  const operations = await store.getOperationsAfterDelivery(0, 10_000)
  await store.close()
  return operations.map(({ operation }) => operation.id)
}

describe('backup', () => {
  test('is proved by --verify, and is for its owner only', async () => {
    const { code, stdout, stderr } = await workspace.run(['backup', '--verify', 'whole.backup'])

    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    expect(stderr).toMatch(/^1,500 operations, 1 node known, .*Every checksum is right\.\n$/)
    expect(statSync(workspace.path('whole.backup')).mode & 0o777).toBe(0o600)
  })

  test('overwrites a file only when it is told to', async () => {
    writeFileSync(workspace.path('there'), 'mine')

    const refused = await workspace.run(['backup', 'there'])
    expect(refused).toMatchObject({
      code: 2,
      stderr: 'error: there is there already. --force overwrites it.\n',
    })
    expect(readFileSync(workspace.path('there'), 'utf8')).toBe('mine')

    expect(await workspace.run(['backup', 'there', '--force'])).toMatchObject({ code: 0 })
    expect(await workspace.run(['backup', 'there', '--verify'])).toMatchObject({ code: 0 })
  })

  test('takes the place of nothing but a file, and of none of the database, whatever it is told', async () => {
    using workspace = new Workspace()
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))
    mkdirSync(workspace.path('folder'))
    execFileSync('mkfifo', [workspace.path('pipe')])
    symlinkSync(workspace.path('kora-server.db'), workspace.path('alias.db'))
    const before = readFileSync(workspace.path('kora-server.db'))

    for (const name of ['kora-server.db', 'folder/../kora-server.db-wal', 'alias.db']) {
      expect(await workspace.run(['backup', name, '--force'])).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/^error: \S+ belongs to the database that is backed up\. /),
      })
    }
    for (const force of [[], ['--force']]) {
      expect(await workspace.run(['backup', 'folder', ...force])).toMatchObject({
        code: 2,
        stderr: 'error: folder is a folder. Name a file in it.\n',
      })
      expect(await workspace.run(['backup', 'pipe', ...force])).toMatchObject({
        code: 2,
        stderr: 'error: pipe is not a file. Name one, or - for stdout.\n',
      })
    }

    expect(readFileSync(workspace.path('kora-server.db'))).toEqual(before)
  })

  test('says what is wrong with a file that is none', async () => {
    writeFileSync(workspace.path('text'), 'hello\n')

    expect(await workspace.run(['backup', '--verify', 'text'])).toMatchObject({
      code: 1,
      stderr: 'error: The backup cannot be used: it is not a backup of kora-server. Nothing was restored.\n',
    })
    expect(await workspace.run(['backup', '--verify', 'nothing'])).toMatchObject({
      code: 2,
      stderr: 'error: nothing does not exist. Name a backup.\n',
    })
    expect(await workspace.run(['backup', '-'], { isTerminal: true })).toMatchObject({ code: 2 })
    expect(await workspace.run(['backup', 'x', '--store', 'memory'])).toMatchObject({ code: 2 })
    expect(await workspace.run(['backup', 'x', '--db', 'nowhere.db'])).toMatchObject({ code: 1 })
  })
})

describe('a backup that a signal ends', () => {
  test('leaves no unfinished file', async () => {
    const processEvents = new SimulatedProcess()
    const filesOf = () => readdirSync(workspace.directory).filter((name) => name.startsWith('ended'))
    const running = workspace.run(['backup', 'ended.backup'], { processEvents })
    while (filesOf().length === 0) await new Promise(setImmediate)
    expect(filesOf()).toEqual([expect.stringMatching(/\.partial$/)])

    processEvents.signal('SIGINT')

    expect(await running).toEqual({ code: 130, stdout: '', stderr: '' })
    expect(filesOf()).toEqual([])
    expect(processEvents).toMatchObject({ exitCodes: [], listenerCount: 0 })
  })

  test('leaves no upload, and a second signal waits for nothing', async () => {
    await using s3 = await openS3Server()
    const processEvents = new SimulatedProcess()
    writeFileSync(
      workspace.path('ended.json'),
      JSON.stringify({ backup: { s3: { bucket: 'backups', endpoint: s3.endpoint } } }),
    )
    s3.onRequest = ({ method, url }) => {
      if (url.includes('partNumber=1')) {
        processEvents.signal('SIGTERM')
        return 'silent'
      }
      if (method === 'DELETE') {
        expect(processEvents.exitCodes).toEqual([])
        processEvents.signal('SIGINT')
      }
    }

    const ended = await workspace.run(['backup', 's3://backups/ended.backup', '--config', 'ended.json'], {
      env: { KORA_S3_ACCESS_KEY_ID: s3.accessKeyId, KORA_S3_SECRET_ACCESS_KEY: s3.secretAccessKey },
      processEvents,
    })

    expect(ended).toEqual({ code: 143, stdout: '', stderr: '' })
    expect(s3.uploads.size).toBe(0)
    expect(s3.objects.size).toBe(0)
    expect(processEvents).toMatchObject({ exitCodes: [130], listenerCount: 0 })
  })
})

describe('restore', () => {
  test('brings the log back elsewhere, in order, with its tables', async () => {
    const { code, stderr } = await workspace.run(['restore', 'whole.backup', '--db', 'elsewhere.db'])

    expect(code).toBe(0)
    expect(stderr).toMatch(/SQLite, elsewhere\.db: 1,500 operations restored, in /)
    expect(await operationIds('elsewhere.db')).toEqual(await operationIds('kora-server.db'))
  })

  test('reads a backup from stdin', async () => {
    const bytes = readFileSync(workspace.path('whole.backup'))
    const stdin = [bytes.subarray(0, 1000), bytes.subarray(1000)]

    const { code } = await workspace.run(['restore', '-', '--db', 'piped.db'], { stdin })

    expect(code).toBe(0)
    expect(await operationIds('piped.db')).toHaveLength(1500)
  })

  test('refuses a store that holds something, without --merge or --replace', async () => {
    await seedDatabase(workspace.path('full.db'), manyTodos(3))

    const refused = await workspace.run(['restore', 'whole.backup', '--db', 'full.db'])
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/ --merge .* --replace /) })
    expect(await operationIds('full.db')).toHaveLength(3)

    const merged = await workspace.run(['restore', 'whole.backup', '--db', 'full.db', '--merge'])
    expect(merged).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('1,497 operations restored, 3 operations there already'),
    })
    const replaced = await workspace.run(['restore', 'whole.backup', '--db', 'full.db', '--replace'])
    expect(replaced).toMatchObject({ code: 0 })
    expect(await operationIds('full.db')).toEqual(await operationIds('kora-server.db'))
    const both = await workspace.run(['restore', 'whole.backup', '--merge', '--replace'])
    expect(both).toMatchObject({ code: 2 })
  })

  test('fills a store that was restored of a backup without operations', async () => {
    await workspace.run(['migrate', '--db', 'nothing.db'])
    await workspace.run(['backup', 'nothing.backup', '--db', 'nothing.db'])
    const first = await workspace.run(['restore', 'nothing.backup', '--db', 'filled.db'])
    expect(first).toMatchObject({ code: 0, stderr: expect.stringContaining('0 operations restored') })

    const second = await workspace.run(['restore', 'whole.backup', '--db', 'filled.db'])

    expect(second).toMatchObject({ code: 0, stderr: expect.stringContaining('1,500 operations restored') })
  })

  test('changes nothing of a store that it refuses', async () => {
    const layout1 = readFileSync(new URL('../../store/sqlite/files/layout-1.sql', import.meta.url), 'utf8')
    const db = new (loadSqliteDriver())(workspace.path('earlier.db'))
    db.exec(layout1)
    db.close()
    await seedDatabase(workspace.path('in-use.db'), manyTodos(3))
    await using database = await openTestDatabase()
    const url = database.connectionString
    workspace.write('schema.mjs', SCHEMA_FILE)
    workspace.write('next.mjs', SCHEMA_FILE.replace('"title":', '"subtitle":{"kind":"string"},"title":'))
    const fresh = await workspace.run(['restore', 'whole.backup', '--db', url, '--schema', 'schema.mjs'])
    expect(fresh).toMatchObject({ code: 0, stderr: expect.stringContaining('1,500 operations restored') })

    for (const store of ['earlier.db', 'in-use.db', url]) {
      const plan = ['migrate', '--plan', '--db', store, '--schema', 'next.mjs']
      const before = await workspace.run(plan)
      const restore = ['restore', 'whole.backup', '--db', store, '--schema', 'next.mjs']
      expect(await workspace.run(restore)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('The store holds operations'),
      })
      expect(before.stderr).toContain('new column "subtitle"')
      expect(await workspace.run(plan)).toEqual(before)
    }
  })

  test('folds what is piped in by the resolvers of the schema', async () => {
    workspace.write('resolving.mjs', RESOLVING_SCHEMA)
    const { default: schema } = await import(workspace.path('resolving.mjs'))
    const store = createSqliteServerStore({ filename: workspace.path('resolving.db') })
    await store.setSchema(schema)
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { sum: 1 }),
      author.update('r1', { sum: 10 }, { previousData: { sum: 1 } }),
      author.update('r1', { sum: 100 }, { previousData: { sum: 1 } }),
    ])
    await store.close()
    const options = ['--db', 'resolving.db', '--schema', 'resolving.mjs']
    await workspace.run(['backup', 'resolving.backup', '--db', 'resolving.db'])
    const stdin = [readFileSync(workspace.path('resolving.backup'))]

    const { code } = await workspace.run(['restore', '-', ...options, '--replace'], { stdin })

    expect(code).toBe(0)
    const { stdout } = await workspace.run(['query', 'todos', ...options, '--fields', 'sum'])
    expect(JSON.parse(stdout)).toEqual([{ sum: 109 }])
  })

  test('writes nothing of a backup from the future, not even a database, unless it is told to', async () => {
    const store = createSqliteServerStore({ filename: workspace.path('ahead.db') })
    await appendAll(store, [new OperationAuthor('a', Date.now() + 86_400_000).insert('r1', { title: 'x' })])
    await store.close()
    await workspace.run(['backup', 'ahead.backup', '--db', 'ahead.db'])
    const restore = ['restore', 'ahead.backup', '--db', 'not-ahead.db']

    expect(await workspace.run(['backup', '--verify', 'ahead.backup'])).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /checksum is right\.\nThe backup holds 1 operation .* s ahead .* unless it is told --as-is\.\n$/,
      ),
    })
    expect(await workspace.run(restore)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/The backup holds 1 operation .* s ahead .* --as-is restores /s),
    })
    expect(() => statSync(workspace.path('not-ahead.db'))).toThrow('ENOENT')
    expect(await workspace.run([...restore, '--as-is'])).toMatchObject({ code: 0 })
    expect(await operationIds('not-ahead.db')).toEqual(await operationIds('ahead.db'))
  })

  test('writes nothing of a damaged backup, not even a database', async () => {
    const bytes = Uint8Array.from(readFileSync(workspace.path('whole.backup')))
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    writeFileSync(workspace.path('damaged.backup'), bytes)

    const { code, stderr } = await workspace.run(['restore', 'damaged.backup', '--db', 'untouched.db'])

    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('is damaged') })
    expect(() => statSync(workspace.path('untouched.db'))).toThrow('ENOENT')
  })
})

describe('backup and restore in object storage', () => {
  test('write, check and read s3:// by the settings of the configuration', async () => {
    await using s3 = await openS3Server()
    writeFileSync(
      workspace.path('s3.json'),
      JSON.stringify({ backup: { s3: { bucket: 'backups', endpoint: s3.endpoint } } }),
    )
    const env = { KORA_S3_ACCESS_KEY_ID: s3.accessKeyId, KORA_S3_SECRET_ACCESS_KEY: s3.secretAccessKey }
    const run = (...argv: string[]) => workspace.run([...argv, '--config', 's3.json'], { env })
    const url = 's3://backups/kora/one.backup'

    const written = await run('backup', url)
    expect(written.stderr).toMatch(/^1,500 operations in s3:\/\/backups\/kora\/one\.backup, /)
    expect(await run('backup', url)).toMatchObject({
      code: 2,
      stderr: `error: ${url} is there already. --force overwrites it.\n`,
    })
    expect((await run('backup', '--verify', url)).stderr).toMatch(/Every checksum is right\.\n$/)
    expect(await run('restore', url, '--db', 'from-s3.db')).toMatchObject({ code: 0 })
    expect(await operationIds('from-s3.db')).toEqual(await operationIds('kora-server.db'))

    expect(await run('restore', 's3://backups/kora/two.backup', '--db', 'x.db')).toMatchObject({
      code: 2,
      stderr:
        'error: s3://backups/kora/two.backup does not exist. The last ones in s3://backups/kora/: one.backup.\n',
    })
    expect(await run('backup', 's3://backups')).toMatchObject({
      code: 2,
      stderr: 'error: "s3://backups" names no object. Write s3://bucket/key.\n',
    })
    env.KORA_S3_SECRET_ACCESS_KEY = 'canary-wrong'
    const refused = await run('backup', '--verify', url)
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('does not accept the credentials'),
    })
    expect(refused.stderr).not.toContain('canary')
  })
})
