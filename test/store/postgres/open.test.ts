import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { describe, expect, test, vi } from 'vitest'
import type { LogFields, Logger } from '../../../src/core/logger.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { toOpenError } from '../../../src/store/postgres/postgres-errors.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, PostgresServer, type TestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-schema.ts'

function urlWith(connectionString: string, change: (url: URL) => void): string {
  const url = new URL(connectionString)
  change(url)
  return url.href
}

function listeningLogger(): Logger & { readonly messages: [string, LogFields][] } {
  const messages: [string, LogFields][] = []
  const note = (fields: LogFields, message: string): void => void messages.push([message, fields])
  return { ...silentLogger, info: note, warn: note, error: note, messages }
}

/** A port that takes connections and answers what is said first like this; null: never a word. */
async function listenWith(answer: Buffer | null): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    if (answer !== null) socket.once('data', () => socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** A folder that PostgreSQL may make its socket in. */
async function socketDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'kora-socket-'))
  await chmod(path, 0o777)
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** The same database, by the socket of its server. */
function socketUrl(connectionString: string, directory: string): string {
  const { host, port } = new URL(connectionString)
  return `${connectionString.replace(host, '')}?host=${encodeURIComponent(directory)}&port=${port}`
}

/** What a server answers that takes only a way to prove passwords that nobody else knows. */
function askForUnknownProof(): Buffer {
  const mechanisms = Buffer.from('SCRAM-SHA-999\0\0')
  const head = Buffer.from('R\0\0\0\0\0\0\0\x0a')
  head.writeInt32BE(mechanisms.length + 8, 1)
  return Buffer.concat([head, mechanisms])
}

/** What PostgreSQL answers before it has recovered. */
function startingUp(): Buffer {
  const fields = Buffer.from('SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0')
  const head = Buffer.from('E\0\0\0\0')
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}

describe('opening', () => {
  test('keeps everything in the schema that it is given, beside other applications', async () => {
    await using database = await openTestDatabase()
    const store = await createPostgresServerStore({
      connectionString: database.connectionString,
      schema: 'my "app"',
      applicationName: 'todo server',
    })
    await store.setSchema(todoSchema)
    await store.append([requestOf(new OperationAuthor('a').insert('r1', { title: 'x', userId: 'u' }))])
    const plan = await store.planSchema({ ...todoSchema, version: 2 })
    expect(plan.isUpToDate).toBe(false)
    expect(await store.countCollection('todos')).toBe(1)
    const [activity] = await database.query(
      "SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = 'todo server'",
    )
    expect(activity?.count).toBeGreaterThan(0)
    await store.close()

    const tables = await database.query(
      "SELECT schemaname FROM pg_tables WHERE tablename ~ '^(_kora_|todos)'",
    )
    expect(new Set(tables.map(({ schemaname }) => schemaname))).toEqual(new Set(['my "app"']))
  })

  test.each([
    ['missing', undefined],
    ['null', null],
    ['""', ''],
    ['5', 5],
    ['an instance of URL', new URL('postgres://localhost/app')],
  ])('is refused as that where the connection string is %s', async (shown, given) => {
    const connectionString = given as string // of a program without types
    const message = `The connection string of the PostgreSQL store is ${shown}. Give one such as "postgres://user@host/database".`

    const opened = createPostgresServerStore({ connectionString })

    await expect(opened).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID_ARGUMENT', message })
  })

  test('sends what makes its tables at once, because each message waits for the network', async () => {
    await using database = await openTestDatabase()
    const query = vi.spyOn(pg.Client.prototype, 'query')

    const store = await createPostgresServerStore({ connectionString: database.connectionString })

    expect(await store.getOperationCount()).toBe(0)
    await store.close()
    const sent = query.mock.calls.map(([message]) => JSON.stringify(message))
    expect(sent.filter((message) => message.includes('CREATE TABLE'))).toHaveLength(1)
  })

  test('is refused as that where there are no options', async () => {
    const options = undefined as unknown as { connectionString: string } // of a program without types

    await expect(createPostgresServerStore(options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('works as a role that owns only its schema', async () => {
    await using database = await openTestDatabase()
    await database.query("CREATE ROLE app_owner LOGIN PASSWORD 'secret'").catch(() => {})
    await database.query('CREATE SCHEMA own AUTHORIZATION app_owner')
    const connectionString = urlWith(database.connectionString, (url) => {
      url.username = 'app_owner'
      url.password = 'secret'
    })

    const store = await createPostgresServerStore({ connectionString, schema: 'own' })
    await store.setSchema(todoSchema)
    await store.append([requestOf(new OperationAuthor('a').insert('r1', { title: 'x', userId: 'u' }))])
    expect(await store.countCollection('todos')).toBe(1)
    await store.close()

    await expect(createPostgresServerStore({ connectionString, schema: 'other' })).rejects.toMatchObject({
      code: 'STORE_OPEN_FAILED',
      message: expect.stringContaining('GRANT'),
    })
    const planning = createPostgresServerStore({ connectionString, schema: 'public', readOnly: 'planning' })
    await expect(planning).rejects.toMatchObject({ message: expect.stringContaining('"public"') })
    await database.query('DROP OWNED BY app_owner CASCADE')
    await database.query('DROP ROLE app_owner')
  })

  test.each([
    ['password', { password: 'wrong-one' }, /password is wrong/],
    ['database', { pathname: '/nowhere' }, /database does not exist/],
    ['port', { port: '1' }, /nothing listens there/],
    [
      'host',
      { hostname: 'no-such-host.invalid' },
      /host name does not resolve\. Correct the connection string/,
    ],
  ])('says what is wrong with the %s, and never the password', async (_, change, reason) => {
    await using database = await openTestDatabase()
    const connectionString = urlWith(database.connectionString, (url) => void Object.assign(url, change))

    const error = await createPostgresServerStore({ connectionString }).catch((failure: Error) => failure)

    expect(error).toMatchObject({ code: 'STORE_OPEN_FAILED', message: expect.stringMatching(reason) })
    const { password } = new URL(connectionString)
    expect(String(error)).not.toContain(password)
    expect(String(error)).not.toContain(decodeURIComponent(password))
  })

  test('says which Unix socket is not there, or may not be used', async () => {
    await using directory = await socketDirectory()
    const connectionString = socketUrl('postgres://kora:secret@127.0.0.1:5432/app', directory.path)
    const opening = (): Promise<unknown> => createPostgresServerStore({ connectionString })

    await expect(opening()).rejects.toMatchObject({
      code: 'STORE_OPEN_FAILED',
      message: `Cannot open localhost/app: there is no socket ${directory.path}/.s.PGSQL.5432. Start PostgreSQL, or correct host and port: the host is the folder of the socket.`,
    })
    const denied = Object.assign(new Error('connect EACCES /s/.s.PGSQL.5432'), {
      code: 'EACCES',
      syscall: 'connect',
      address: '/s/.s.PGSQL.5432',
    })
    expect(toOpenError(denied, 'localhost/app')).toMatchObject({
      code: 'STORE_OPEN_FAILED',
      message: 'Cannot open localhost/app: this user may not use the socket /s/.s.PGSQL.5432.',
    })
  })

  test('asks for a password where the connection string has none', async () => {
    await using database = await openTestDatabase()
    const connectionString = urlWith(database.connectionString, (url) => {
      url.password = ''
    })
    const { host, pathname } = new URL(connectionString)

    const opening = createPostgresServerStore({ connectionString })

    await expect(opening).rejects.toMatchObject({
      code: 'STORE_OPEN_FAILED',
      message: `Cannot open ${host}${pathname}: it asks for a password, and there is none. Add it to the connection string, or set PGPASSWORD.`,
    })
  })

  test.each([
    ['nothing answers', null, /nothing answered in time\. Correct host and port/],
    ['something else listens', Buffer.from(''), /ended the connection\. See whether it is PostgreSQL/],
    [
      'it proves no password',
      askForUnknownProof(),
      /could not be proved \(SASL: .*\)\. Check the connection string/,
    ],
    ['it is not up yet', startingUp(), /it is starting or stopping\. Start again once it is up/],
  ])('says that %s, and what may be the reason', async (_, answer, reason) => {
    await using other = await listenWith(answer)

    const opening = createPostgresServerStore({
      connectionString: `postgres://kora:secret@127.0.0.1:${other.port}/app`,
      connectTimeoutMs: 200,
    })

    await expect(opening).rejects.toMatchObject({
      code: 'STORE_OPEN_FAILED',
      message: expect.stringMatching(reason),
    })
  })

  test('refuses a server that takes no writes, and one that a later release has written', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const store = await createPostgresServerStore({ connectionString })
    await store.close()

    await database.query("UPDATE _kora_meta SET value = '99' WHERE key = 'layout'")
    await expect(createPostgresServerStore({ connectionString })).rejects.toMatchObject({
      code: 'STORE_NEWER',
    })
    await database.query(
      `ALTER DATABASE "${new URL(connectionString).pathname.slice(1)}" SET default_transaction_read_only = on`,
    )
    await expect(createPostgresServerStore({ connectionString })).rejects.toMatchObject({
      code: 'STORE_OPEN_FAILED',
      message: expect.stringContaining('read only'),
    })
  })

  test('reads without writing, also where nothing is yet', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const planning = await createPostgresServerStore({ connectionString, readOnly: 'planning' })
    const plan = await planning.planSchema(todoSchema)
    expect(plan.isUpToDate).toBe(false)
    expect(plan.statements.join('\n')).toContain('create table')
    await planning.close()
    expect(await database.query("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")).toEqual([])

    const store = await createPostgresServerStore({ connectionString })
    await store.setSchema(todoSchema)
    const reader = await createPostgresServerStore({ connectionString, readOnly: true })
    expect(await reader.countCollection('todos')).toBe(0)
    await expect(reader.setSchema(todoSchema)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    await Promise.all([store.close(), reader.close()])
  })

  test.each([
    ['creates the tables of the log', 'app', async () => {}],
    ['adds to those of an earlier release', 'public', removeAdditions],
  ])('tells before what %s', async (_, schema, change) => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    await (await createPostgresServerStore({ connectionString })).close()
    await change(database)
    const plan = async (): Promise<readonly string[]> => {
      const store = await createPostgresServerStore({ connectionString, schema, readOnly: 'planning' })
      const statements = await store.planLayout()
      await store.close()
      return statements
    }
    const tables = () =>
      database.query(
        `SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = '${schema}'
          UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = '${schema}'
          ORDER BY 1, 2, 3`,
      )

    const before = await tables()
    const statements = await plan()
    expect(await tables()).toEqual(before)
    for (const statement of statements) await database.query(statement)

    const planned = await tables()
    expect(planned.length).toBeGreaterThan(before.length)
    expect(await plan()).toEqual([])
    const store = await createPostgresServerStore({ connectionString, schema })
    expect(await store.planLayout()).toEqual([])
    await store.close()
    expect(await tables()).toEqual(planned)
  })

  test('plans the indexes that an interrupted change has left', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const store = await createPostgresServerStore({ connectionString })
    await store.setSchema(todoSchema)
    const sql = 'create index if not exists "todos_title" on "public"."todos" using hash ("title")'
    await database.query("INSERT INTO _kora_meta VALUES ('schema_indexes', $1)", [
      JSON.stringify([{ name: 'todos_title', sql }]),
    ])

    expect(await store.planSchema(todoSchema)).toEqual({ isUpToDate: false, statements: [sql], changes: [] })
    await store.setSchema(todoSchema)
    expect(await store.planSchema(todoSchema)).toEqual({ isUpToDate: true, statements: [], changes: [] })
    await store.close()
  })

  test('commits durably also where sessions are set not to, and says what no session can change', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const name = new URL(connectionString).pathname.slice(1)
    await database.query(`ALTER DATABASE "${name}" SET synchronous_commit = off`)
    const logger = listeningLogger()
    const store = await createPostgresServerStore({ connectionString, logger, poolSize: 1 })
    await database.query(
      `CREATE TABLE seen (setting text);
       CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
       CREATE TRIGGER note AFTER INSERT ON _kora_operations FOR EACH STATEMENT EXECUTE FUNCTION note()`,
    )

    await store.append([requestOf(new OperationAuthor('a').insert('r1', {}))])
    await store.close()

    expect(await database.query('SELECT setting FROM seen')).toEqual([{ setting: 'on' }])
    // The server of the tests runs without fsync.
    expect(logger.messages.map(([, { risk }]) => risk)).toContain('fsync is off')
  })
})

describe('a database in trouble', () => {
  test('that somebody else has locked is waited for, then refused, then used again', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const store = await createPostgresServerStore({ connectionString, lockTimeoutMs: 300 })
    await store.setSchema(todoSchema)
    const author = new OperationAuthor('a')
    const append = () => store.append([requestOf(author.insert('r1', { title: 'x', userId: 'u' }))])

    const holder = database.query(
      'BEGIN; LOCK TABLE todos IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1.5); COMMIT',
    )
    await new Promise((resolve) => setTimeout(resolve, 200))
    await expect(append()).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('lock'),
    })
    await holder
    const [result] = await append()
    expect(result?.status).toBe('applied')
    await store.close()
  })

  test('that somebody reads for long holds up a new index and no server, which says what it waits for', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const logger = listeningLogger()
    const store = await createPostgresServerStore({ connectionString, logger, lockTimeoutMs: 300 })
    const todos = { fields: { title: t.string() } }
    await store.setSchema(defineSchema({ version: 1, collections: { todos } }))
    const indexed = defineSchema({ version: 2, collections: { todos: { ...todos, indexes: ['title'] } } })
    const reader = new pg.Client({ connectionString })
    await reader.connect()
    await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM todos')

    const changing = store.setSchema(indexed)
    const reasons = () => logger.messages.map(([message, { reason }]) => `${message}: ${reason}`)
    await expect
      .poll(() => reasons().join(), { timeout: 10_000 })
      .toContain(
        'waiting for transactions of others on the database: the index "public"."_kora_ix_todos_title',
      )
    await store.append([requestOf(new OperationAuthor('a').insert('r1', { title: 'x' }))])
    await reader.query('COMMIT')
    await changing

    expect(await store.planSchema(indexed)).toMatchObject({ isUpToDate: true })
    await reader.end()
    await store.close()
  }, 30_000)

  test.each([
    ['over TCP', (connectionString: string) => connectionString],
    ['over a Unix socket', socketUrl],
  ])(
    'that is gone is unavailable, and used again once it is back, %s',
    async (_, reach) => {
      await using directory = await socketDirectory()
      await using server = await PostgresServer.start([
        'fsync=off',
        `unix_socket_directories=${directory.path}`,
      ])
      await using database = await server.openDatabase()
      const logger = listeningLogger()
      const store = await createPostgresServerStore({
        connectionString: reach(database.connectionString, directory.path),
        logger,
        connectTimeoutMs: 1000,
        pollIntervalMs: 100,
      })
      const author = new OperationAuthor('a')
      await store.append([requestOf(author.insert('r1', {}))])
      const operation = author.insert('r2', {})

      await server.stop('immediate')
      await expect(store.append([requestOf(operation)])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
      await expect(store.checkHealth()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
      await server.start()

      await expect
        .poll(
          () =>
            store.checkHealth().then(
              () => 'up',
              () => 'down',
            ),
          { timeout: 15_000 },
        )
        .toBe('up')
      const [result] = await store.append([requestOf(operation)])
      expect(result?.status).toBe('applied')
      expect(await store.getOperationCount()).toBe(2)
      expect(JSON.stringify(logger.messages)).not.toContain('ss word')
      await store.close()
    },
    60_000,
  )

  test('that loses the connection in the middle of a commit never stores twice', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const store = await createPostgresServerStore({ connectionString })
    const author = new OperationAuthor('a')
    // Committed, and the connection ends before the answer.
    await database.query(
      `CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
       CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON _kora_operations DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION cut()`,
    )
    const operation = author.insert('r1', {})
    await expect(store.append([requestOf(operation)])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    await database.query('DROP TRIGGER cut ON _kora_operations')

    await store.append([requestOf(operation)])
    const [again] = await store.append([requestOf(operation)])

    expect(again?.status).toBe('duplicate')
    expect(await store.getOperationCount()).toBe(1)
    await store.close()
  })
})

/** As a server of the first release has made it. */
async function removeAdditions(database: TestDatabase): Promise<void> {
  await database.query('ALTER TABLE _kora_nodes DROP COLUMN has_written') // with its indexes
  await database.query('ALTER TABLE _kora_blob_refs DROP COLUMN is_proven')
  for (const table of ['uploads', 'holders']) {
    await database.query(`ALTER TABLE _kora_blob_${table} DROP COLUMN sent_at`)
  }
  await database.query("DELETE FROM _kora_meta WHERE key = 'layout_additions'")
}

/** A role that owns nothing, and its connection string. */
async function createGuest(
  database: TestDatabase,
): Promise<AsyncDisposable & { readonly name: string; readonly url: string }> {
  const name = `guest_of_${new URL(database.connectionString).pathname.slice(1)}`
  await database.query(`CREATE ROLE "${name}" LOGIN PASSWORD 'secret'`)
  return {
    name,
    url: urlWith(database.connectionString, (url) => {
      url.username = name
      url.password = 'secret'
    }),
    async [Symbol.asyncDispose]() {
      await database.query(`DROP OWNED BY "${name}"`)
      await database.query(`DROP ROLE "${name}"`)
    },
  }
}

describe('a role that owns nothing', () => {
  test.each([
    ['may only read', [], 'INSERT, UPDATE, DELETE', '_kora_blob_chunks', /, and rights on \d+ more\. /],
    ['may not change one table', ['REVOKE UPDATE ON todos FROM'], 'UPDATE', 'todos', /"todos"\. /],
    ['may not delete', ['REVOKE DELETE ON _kora_scope FROM'], 'DELETE', '_kora_scope', /"_kora_scope"\. /],
  ])('and %s is refused before a server starts', async (_, revocations, rights, table, others) => {
    await using database = await openTestDatabase()
    const store = await createPostgresServerStore({ connectionString: database.connectionString })
    await store.setSchema(todoSchema)
    await store.close()
    await using guest = await createGuest(database)
    const granted = revocations.length === 0 ? 'SELECT' : 'SELECT, INSERT, UPDATE, DELETE'
    await database.query(`GRANT ${granted} ON ALL TABLES IN SCHEMA public TO "${guest.name}"`)
    for (const revocation of revocations) await database.query(`${revocation} "${guest.name}"`)

    for (const readOnly of [false, 'planning'] as const) {
      const opening = createPostgresServerStore({ connectionString: guest.url, readOnly })
      const error = await opening.catch((failure: Error & { code: string }) => failure)

      if (!(error instanceof Error)) throw new Error('opened')
      expect(error.code).toBe('STORE_OPEN_FAILED')
      expect(error.message).toContain(`the role "${guest.name}" lacks ${rights} on the table "${table}"`)
      expect(error.message).toMatch(others)
      expect(error.message).toContain(
        `Run: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "public" TO "${guest.name}"`,
      )
    }
    const reader = await createPostgresServerStore({ connectionString: guest.url, readOnly: true })
    expect(await reader.countCollection('todos')).toBe(0)
    await reader.close()
  })

  test.each([
    ['the schema', [], /the role "\S+" may not use the schema "own 1"\. /],
    ['a table', ['USAGE ON SCHEMA'], /lacks SELECT on the table "_kora_meta" of the schema "own 1"\. /],
  ])('and is to read is told what it lacks, of %s', async (_, grants, problem) => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    await (await createPostgresServerStore({ connectionString, schema: 'own 1' })).close()
    await using guest = await createGuest(database)
    for (const grant of grants) await database.query(`GRANT ${grant} "own 1" TO "${guest.name}"`)
    const options = { connectionString: guest.url, schema: 'own 1' }

    const reading = createPostgresServerStore({ ...options, readOnly: true })
    const failure = await reading.catch((error: Error) => error)

    expect(failure).toMatchObject({ code: 'STORE_OPEN_FAILED', message: expect.stringMatching(problem) })
    const remedy =
      /Run: (GRANT USAGE ON SCHEMA "own 1" TO "\S+"; GRANT SELECT ON ALL TABLES IN SCHEMA "own 1" TO "\S+")$/
    const [, statements = ''] = remedy.exec(failure instanceof Error ? failure.message : '') ?? []
    expect(statements).not.toBe('')
    for (const readOnly of [false, 'planning'] as const) {
      await expect(createPostgresServerStore({ ...options, readOnly })).rejects.toMatchObject({
        code: 'STORE_OPEN_FAILED',
        message: expect.stringMatching(/GRANT USAGE .*; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES/),
      })
    }
    await database.query(statements)
    const reader = await createPostgresServerStore({ ...options, readOnly: true })
    expect(await reader.getOperationCount()).toBe(0)
    await database.query(`REVOKE SELECT ON "own 1"._kora_counters FROM "${guest.name}"`)
    await expect(reader.getOperationCount()).rejects.toMatchObject({
      message: expect.stringContaining('lacks a right (permission denied for table _kora_counters)'),
    })
    await reader.close()
  })

  test('and may make neither tables nor their schema is told so before a server starts', async () => {
    await using database = await openTestDatabase()
    await database.query('REVOKE CREATE ON SCHEMA public FROM PUBLIC')
    await using guest = await createGuest(database)
    for (const readOnly of [false, 'planning'] as const) {
      const open = (schema: string) =>
        createPostgresServerStore({ connectionString: guest.url, schema, readOnly })

      await expect(open('public')).rejects.toMatchObject({
        code: 'STORE_OPEN_FAILED',
        message: expect.stringMatching(
          /may not create tables in the schema "public"\. Run: GRANT USAGE, CREATE ON SCHEMA "public" TO "\S+"$/,
        ),
      })
      await expect(open('new')).rejects.toMatchObject({
        code: 'STORE_OPEN_FAILED',
        message: expect.stringMatching(
          /may not create the schema "new"\. Run: CREATE SCHEMA "new" AUTHORIZATION "\S+", or GRANT CREATE ON DATABASE "\S+" TO "\S+"$/,
        ),
      })
    }
  })

  test('writes with the rights that such a refusal names', async () => {
    await using database = await openTestDatabase()
    const store = await createPostgresServerStore({ connectionString: database.connectionString })
    await store.setSchema(todoSchema)
    await store.close()
    await using guest = await createGuest(database)
    await database.query(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "${guest.name}"`,
    )

    const again = await createPostgresServerStore({ connectionString: guest.url })
    await again.setSchema(todoSchema)
    await again.append([requestOf(new OperationAuthor('a').insert('r1', { title: 'x', userId: 'u' }))])
    expect(await again.countCollection('todos')).toBe(1)
    await again.close()
  })
})

describe('a handshake’s look at the vector', () => {
  /** Rows of the table of nodes that were read, however: told by a connection when it ends. */
  async function rowsRead(database: TestDatabase): Promise<number> {
    const [row] = await database.query(
      "SELECT seq_tup_read + idx_tup_fetch AS count FROM pg_stat_user_tables WHERE relname = '_kora_nodes'",
    )
    return Number(row?.count)
  }

  test('passes over devices that only read, also in tables that an earlier release has made', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const earlier = await createPostgresServerStore({ connectionString })
    for (const nodeId of ['a', 'b']) {
      await earlier.append([requestOf(new OperationAuthor(nodeId).insert(`r-${nodeId}`, { title: 'x' }))])
    }
    await earlier.registerNode({ nodeId: 'b', userId: 'me' })
    await earlier.close()
    await removeAdditions(database)
    await database.query(
      "INSERT INTO _kora_nodes (node_id, user_id) SELECT 'reader ' || n, CASE WHEN n % 2 = 0 THEN 'me' END FROM generate_series(1, 20000) n",
    )
    await database.query('ANALYZE _kora_nodes')

    const again = await createPostgresServerStore({ connectionString })
    for (const nodeId of ['a', 'b']) {
      const author = new OperationAuthor(nodeId)
      author.insert('stored', { title: 'x' })
      await again.append([requestOf(author.insert(`later-${nodeId}`, { title: 'x' }))])
    }
    await again.close()
    await database.query('ANALYZE _kora_nodes')
    const before = await rowsRead(database)
    const store = await createPostgresServerStore({ connectionString })
    const vector = await store.getHandshakeVector({ nodeIds: [], entry: null, userId: 'me', maxOthers: 10 })

    await store.close()
    expect([...vector].sort()).toEqual([
      ['a', 2],
      ['b', 2],
    ])
    expect((await rowsRead(database)) - before).toBeLessThan(10)
  })

  test('needs what only the owner of the tables can add, and says so to others', async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    await (await createPostgresServerStore({ connectionString })).close()
    await removeAdditions(database)
    await using guest = await createGuest(database)
    await database.query(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "${guest.name}"`,
    )
    const refusal = {
      code: 'STORE_OPEN_FAILED',
      message: expect.stringMatching(
        /adds columns to tables like "_kora_nodes".* Run `kora-server migrate` once as the role/,
      ),
    }
    await expect(createPostgresServerStore({ connectionString: guest.url })).rejects.toMatchObject(refusal)
    const planning = createPostgresServerStore({ connectionString: guest.url, readOnly: 'planning' })
    await expect(planning).rejects.toMatchObject(refusal)

    await (await createPostgresServerStore({ connectionString })).close()
    await (await createPostgresServerStore({ connectionString: guest.url })).close()
  })
})
