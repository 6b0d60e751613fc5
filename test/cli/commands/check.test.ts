import { once } from 'node:events'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { Certificates } from '../../support/certificates.ts'
import { freePort } from '../../support/free-port.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { openS3Server } from '../../support/s3-server.ts'
import { Workspace } from '../../support/terminal.ts'
import { manyTodos, seedDatabase } from '../seed.ts'
import { serveConfig } from '../serve.ts'
import { SCHEMA_FILE } from '../todos-schema.ts'

const SECRET = 'canary-secret-of-at-least-thirty-two-characters'

function workspaceWith(config: object): Workspace {
  return new Workspace({
    files: { 'kora.config.json': JSON.stringify({ port: 0, ...config }), 'schema.mjs': SCHEMA_FILE },
  })
}

describe('check', () => {
  test('finds nothing wrong with a careful configuration', async () => {
    using workspace = workspaceWith({
      host: '127.0.0.1',
      schema: 'schema.mjs',
      auth: {
        mode: 'jwt',
        jwt: { secret: SECRET, issuer: 'https://issuer.test', audience: 'app' },
        scopes: { todos: { userId: '$claims.sub' } },
      },
      admin: { adminToken: 'canary-admin-token' },
    })

    const { code, stdout, stderr } = await workspace.run(['check'])

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('0 errors, 0 warnings.')
    await expect(stdout).toMatchFileSnapshot('../expected/check-fine.txt')
  })

  test('changes nothing', async () => {
    using workspace = workspaceWith({ schema: 'schema.mjs' })

    await workspace.run(['check'])

    expect((await workspace.run(['query', 'todos'])).stderr).toContain('kora-server.db does not exist.')
  })

  test('warns of settings that let more in than was meant', async () => {
    using open = workspaceWith({})
    using unscoped = workspaceWith({ schema: 'schema.mjs', auth: { mode: 'jwt', jwt: { secret: SECRET } } })

    const openRun = await open.run(['check'])
    const unscopedRun = await unscoped.run(['check'])

    expect(openRun.code).toBe(0)
    expect(openRun.stdout).toMatch(/^warning +auth\.mode +"none" on 0\.0\.0\.0: whoever reaches/m)
    expect(unscopedRun.code).toBe(0)
    expect(unscopedRun.stdout).toMatch(/^warning +auth\.scopes +not set, but the schema ties todos to users/m)
    expect(unscopedRun.stdout).toMatch(/^warning +auth\.jwt\.issuer +not set/m)
    expect(unscopedRun.stdout).toMatch(/^warning +auth\.jwt\.audience +not set/m)
  })

  test('warns of a dashboard on loopback that shows a proxy what authentication hides', async () => {
    const auth = { mode: 'jwt', jwt: { secret: SECRET } }
    using open = workspaceWith({ host: '127.0.0.1', auth })
    using apart = workspaceWith({ host: '127.0.0.1', auth, admin: { port: 0 } })

    expect((await open.run(['check'])).stdout).toMatch(
      /^warning +admin\.adminToken +not set: on 127\.0\.0\.1/m,
    )
    expect((await apart.run(['check'])).stdout).not.toContain('admin.adminToken')
  })

  test('warns of scopes that hide everything, and of tokens that can be guessed', async () => {
    const scopes = { todos: { usrId: '$claims.sub' }, todo: {} }
    using workspace = workspaceWith({
      schema: 'schema.mjs',
      auth: { mode: 'jwt', jwt: { secret: SECRET }, scopes },
      admin: { adminToken: 'abc', metricsToken: 'x'.repeat(16), backupToken: '?' },
    })

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^warning +auth\.scopes\.todos\.usrId +the schema has no such field: nobody .*Did you mean userId\?$/m,
    )
    expect(stdout).toMatch(
      /^warning +auth\.scopes\.todo +the schema has no such collection\. Did you mean todos\?$/m,
    )
    expect(stdout).toMatch(/^warning +admin\.adminToken +has 3 characters and can be guessed\. /m)
    expect(stdout).toMatch(/^warning +admin\.backupToken +has 1 character and can be guessed\. /m)
    expect(stdout).not.toMatch(/metricsToken|abc/)
  })

  test('warns of what anonymous clients would never see', async () => {
    const anonymous = { scopes: { todos: { userld: 'u1' }, tods: {} } }
    using workspace = workspaceWith({
      schema: 'schema.mjs',
      auth: { mode: 'mixed', secret: SECRET, scopes: {}, anonymous },
    })

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +auth\.anonymous\.scopes\.todos\.userld .*Did you mean userId\?$/m)
    expect(stdout).toMatch(/^warning +auth\.anonymous\.scopes\.tods .*Did you mean todos\?$/m)
  })

  test('warns of settings that do not do what they say', async () => {
    using workspace = new Workspace()
    const http = { staticDir: './nowhere' }
    const server = { port: 0, limits: { maxOperationBytes: 1_000_000, maxMessageBytes: 1000 }, http }
    workspace.write('kora.config.json', JSON.stringify({ server, shutdownTimeout: '1h' }))

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +shutdownTimeout +stands beside server, .* Move it into server\.$/m)
    expect(stdout).toMatch(
      /^warning +limits\.maxOperationBytes +1000000, but limits\.maxMessageBytes is 1000: /m,
    )
    expect(stdout).toMatch(/^warning +http\.staticDir +\S+nowhere does not exist: /m)
  })

  test('and start refuse a file in the place of the folder with the front end', async () => {
    using workspace = new Workspace({ files: { page: 'hello' } })
    workspace.write(
      'kora.config.json',
      JSON.stringify({ server: { port: 0, http: { staticDir: './page' } } }),
    )

    const check = await workspace.run(['check'])
    const start = await workspace.run(['start'])

    expect(check.code).toBe(2)
    expect(check.stdout).toMatch(/^error +http\.staticDir +.*page is a file\. Name the folder/m)
    expect(start.code).toBe(2)
    expect(start.stderr).toMatch(/http\.staticDir: .*page is a file\. Name the folder/)
    expect(start.stderr).not.toContain('not foreseen')
  })

  test('says which variables are not used', async () => {
    using workspace = workspaceWith({ store: { driver: 'memory' }, backup: false })
    const env = { KORA_DB: 'app.db', KORA_BACKUP_DIRECTORY: 'backups', KORA_HOST: '127.0.0.1' }

    const { code, stdout } = await workspace.run(['check'], { env })

    expect(code).toBe(0)
    expect(stdout.match(/^ok .*not used.*$/gm)).toEqual([
      expect.stringMatching(/ backup\.directory +KORA_BACKUP_DIRECTORY is set, and not used with /),
      expect.stringMatching(/ store\.filename +KORA_DB is set, and not used with this configuration\.$/),
    ])
  })

  test('warns of a variable that is named much like one, and of a secret with a line end', async () => {
    using workspace = workspaceWith({})
    const env = { KORA_ADMIN_TOKN: 'canary', KORA_AUTH_SECRET: `${SECRET}\n` }

    const { code, stdout } = await workspace.run(['check'], { env })

    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +KORA_ADMIN_TOKN +is set, .* Did you mean KORA_ADMIN_TOKEN\?$/m)
    expect(stdout).toMatch(/^warning +auth\.secret \(KORA_AUTH_SECRET\) +begins or ends with a blank/m)
    expect(stdout).not.toContain('canary')
  })

  test('uses every variable that says where the data is', async () => {
    using workspace = workspaceWith({})

    const { stdout } = await workspace.run(['check'], { env: { KORA_DB: 'app.db' } })

    expect(stdout).toContain('SQLite, app.db')
    expect(stdout).not.toContain('not used')
  })

  test('is JSON for programs, with the configuration where that is asked for', async () => {
    using workspace = workspaceWith({ auth: { mode: 'jwt', jwt: { secret: SECRET } } })

    const { code, stdout } = await workspace.run(['check', '--format', 'json', '--print-config'])

    const { findings, config } = JSON.parse(stdout)
    expect(code).toBe(0)
    expect(findings).toContainEqual({
      severity: 'warning',
      subject: 'auth.jwt.issuer',
      message: 'not set: tokens of any issuer that uses these keys are accepted.',
    })
    expect(config).toContainEqual({ path: 'auth.jwt.secret', display: '***', origin: { kind: 'file' } })
    expect(stdout).not.toContain(SECRET)
  })

  test('says whether backups could be written, though the server starts without', async () => {
    await using s3 = await openS3Server()
    const credentials = { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey }
    const backups = (bucket: string, directory: string) =>
      workspaceWith({ backup: { directory, s3: { bucket, endpoint: s3.endpoint, ...credentials } } })
    using fine = backups('backups', 'not-there-yet')
    using wrong = backups('backup', '/proc/backups')

    expect((await fine.run(['check'])).stdout).toMatch(
      /^ok +backup +\/\S+\/not-there-yet can be written\.\nok +backup +s3:\/\/backups\/ can be read\.$/m,
    )
    const { code, stdout } = await wrong.run(['check'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +backup\.s3 +Bucket "backup" at \S+ does not exist\. Create it/m)
    expect(stdout).not.toContain(s3.secretAccessKey)
  })

  test('reports a folder for blobs or backups that cannot be one, of which the first stops a start', async () => {
    using workspace = workspaceWith({
      blobs: { directory: 'schema.mjs/blobs' },
      backup: { directory: 'schema.mjs' },
    })
    using fine = workspaceWith({ blobs: { directory: 'not/there/yet' } })

    const { code, stdout } = await workspace.run(['check'])
    const start = await workspace.run(['start', '--log-level', 'error'])

    expect(code).toBe(1)
    expect(stdout).toMatch(
      /^error +blobs\.directory +\/\S+\/schema\.mjs is not a folder\. Choose another\.$/m,
    )
    expect(stdout).toMatch(/^warning +backup\.directory +No backup will be made: \S+ is not a folder/m)
    expect(start).toMatchObject({ code: 1, stderr: expect.stringContaining('The directory for blobs') })
    expect((await fine.run(['check'])).stdout).toMatch(
      /^ok +blobs +\/\S+\/not\/there\/yet can be written\.$/m,
    )
  })

  test.each([
    { obstacle: 'a dead link', at: 'blobs', place: (path: string) => symlinkSync('gone', path) },
    { obstacle: 'a dead link above it', at: 'parent', place: (path: string) => symlinkSync('gone', path) },
    { obstacle: 'a circle of links', at: 'blobs', place: (path: string) => symlinkSync(path, path) },
    {
      obstacle: 'a dead link in it',
      at: 'blobs/damaged',
      place: (path: string) => symlinkSync('gone', path),
    },
    { obstacle: 'a file in it', at: 'blobs/tmp', place: (path: string) => writeFileSync(path, '') },
  ])('says of $obstacle that it stops the start', async ({ at, place }) => {
    using workspace = workspaceWith({ blobs: { directory: at === 'parent' ? 'parent/blobs' : 'blobs' } })
    const path = join(workspace.directory, at)
    mkdirSync(dirname(path), { recursive: true })
    place(path)

    const { code, stdout } = await workspace.run(['check'])
    const start = await workspace.run(['start', '--log-level', 'error'])

    expect({ code, start: start.code }).toEqual({ code: 1, start: 1 })
    expect(stdout).toMatch(
      /^error +blobs\.directory +\/\S+ (is a link to a folder that does not exist\. Create that|is not a folder\. Choose)/m,
    )
    expect(stdout).toContain(`${path} is `)
  })

  test('reads all that is stored with --deep, and names what is damaged', async () => {
    using workspace = workspaceWith({ schema: 'schema.mjs' })
    const filename = join(workspace.directory, 'kora-server.db')
    await seedDatabase(filename, manyTodos(5))
    const sound = await workspace.run(['check', '--deep'])
    const db = new (loadSqliteDriver())(filename)
    db.exec("UPDATE _kora_operations SET wire_json = wire_json || ' ' WHERE seq = 2")
    db.close()

    const damaged = await workspace.run(['check', '--deep'])

    expect(sound).toMatchObject({ code: 0, stdout: expect.stringMatching(/read, nothing is damaged/) })
    expect(damaged.code).toBe(1)
    expect(damaged.stdout).toMatch(/^error +row 2 of the log +its checksum does not fit/m)
  })

  test('reports a port that is taken, with exit code 1', async () => {
    const blocker = createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    const { port } = blocker.address() as { port: number }
    using workspace = workspaceWith({ host: '127.0.0.1', port })

    const { code, stdout } = await workspace.run(['check'])
    blocker.close()

    expect(code).toBe(1)
    expect(stdout).toMatch(new RegExp(`^error +port +Port ${port} on 127.0.0.1 is in use`, 'm'))
  })

  test('names what moves the port of the operations endpoints', async () => {
    const blocker = createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    const { port } = blocker.address() as { port: number }
    using workspace = workspaceWith({ host: '127.0.0.1', port: 0, admin: { port } })

    const check = await workspace.run(['check'])
    const start = await workspace.run(['start'])
    blocker.close()

    const message = `Port ${port} on 127.0.0.1 is in use by another process. Stop it, or choose another port with admin.port.`
    expect(check.stdout).toContain(message)
    expect(start).toMatchObject({ code: 1, stderr: expect.stringContaining(message) })
  })

  test('may run beside the server, whose ports are no mistake', async () => {
    const admin = { adminToken: 'x'.repeat(16), port: await freePort() }
    using workspace = workspaceWith({ port: await freePort(), admin })
    await using _server = await serveConfig(workspace)

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^ok +port +\d+ on 0\.0\.0\.0: a kora-server is running there\.$/m)
    expect(stdout).toMatch(/^ok +admin\.port +\d+ on 127\.0\.0\.1: a kora-server is running there\.$/m)
  })

  test('may run beside the server with TLS, and beside one that has no TLS yet', async () => {
    const config = { host: '127.0.0.1', port: await freePort() }
    using workspace = workspaceWith(config)
    const tls = new Certificates(workspace.directory).signedByItself('sync.example.com')
    const checkBesides = async (running: object) => {
      workspace.write('kora.config.json', JSON.stringify(running))
      await using _server = await serveConfig(workspace)
      workspace.write('kora.config.json', JSON.stringify({ ...config, tls }))
      return await workspace.run(['check'])
    }

    for (const running of [{ ...config, tls }, config]) {
      const { code, stdout } = await checkBesides(running)
      expect(code).toBe(0)
      expect(stdout).toMatch(/^ok +port +\d+ on 127\.0\.0\.1: a kora-server is running there\.$/m)
    }
  })

  test('reports a port that the server of another store has', async () => {
    const config = { host: '127.0.0.1', port: await freePort(), admin: { port: await freePort() } }
    using other = workspaceWith(config)
    using workspace = workspaceWith(config)
    using started = workspaceWith(config)
    await started.run(['migrate'])
    await using _server = await serveConfig(other)

    for (const each of [workspace, started]) {
      const check = await each.run(['check'])
      const start = await each.run(['start', '--log-level', 'error'])

      expect({ check: check.code, start: start.code }).toEqual({ check: 1, start: 1 })
      expect(check.stdout).toMatch(
        /^error +port +Port \d+ on 127\.0\.0\.1 is in use by another process\. .*--port\. A kora-server with another store has it\.$/m,
      )
      expect(check.stdout).toMatch(/^error +admin\.port +Port .* A kora-server with another store has it\.$/m)
    }
  })

  test('warns where it is not known which store the server on a port has', async () => {
    const earlier = createHttpServer((_request, response) =>
      response.end('{"status":"ok","uptimeSeconds":7}'),
    )
    await once(earlier.listen(0, '127.0.0.1'), 'listening')
    const { port } = earlier.address() as AddressInfo
    using workspace = workspaceWith({ host: '127.0.0.1', port })
    using inMemory = workspaceWith({ host: '127.0.0.1', port: await freePort(), store: { driver: 'memory' } })
    await using _server = await serveConfig(inMemory)

    const run = await workspace.run(['check'])
    const memoryRun = await inMemory.run(['check'])
    earlier.close()

    for (const { code, stdout } of [run, memoryRun]) {
      expect(code).toBe(0)
      expect(stdout).toMatch(
        /^warning +port +\d+ on 127\.0\.0\.1: a kora-server is running there\. Whether it has this store is not known: if not, stop it, or choose another port with .*--port\.$/m,
      )
    }
  })

  test('knows the server of a PostgreSQL database by it', async () => {
    await using database = await openTestDatabase()
    const config = { host: '127.0.0.1', port: await freePort() }
    using workspace = workspaceWith({
      ...config,
      store: { driver: 'postgres', connectionString: database.connectionString },
    })
    await using _server = await serveConfig(workspace)

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^ok +port +\d+ on 127\.0\.0\.1: a kora-server is running there\.$/m)
  })

  test('takes nothing else for the server', async () => {
    const other = createHttpServer((_request, response) => response.end('{"status":"ok"}'))
    await once(other.listen(0, '127.0.0.1'), 'listening')
    const { port } = other.address() as AddressInfo
    using workspace = workspaceWith({ host: '127.0.0.1', port })
    using silent = workspaceWith({ host: '127.0.0.1', port: await freePort(), http: { health: false } })
    await using _server = await serveConfig(silent)

    const run = await workspace.run(['check'])
    const silentRun = await silent.run(['check'])
    other.close()

    expect(run.code).toBe(1)
    expect(run.stdout).toMatch(
      /^error +port +Port \d+ on 127\.0\.0\.1 is in use by another process\. .*--port\.$/m,
    )
    expect(silentRun.code).toBe(1)
    expect(silentRun.stdout).toMatch(
      /^error +port +Port .* A server whose http\.health is off cannot be told from others\.$/m,
    )
  })

  test('says of a JWKS that cannot be fetched where it is, and why not', async () => {
    const jwksUrl = `http://127.0.0.1:${await freePort()}/jwks.json`
    using workspace = workspaceWith({ auth: { mode: 'jwt', jwt: { jwksUrl } } })

    const { stdout } = await workspace.run(['check'])

    expect(stdout).toMatch(
      /^warning +auth +JWKS could not be fetched from http:\/\/127\.0\.0\.1:\d+\/jwks\.json: .*ECONNREFUSED/m,
    )
  })

  test('reports keys that do not parse, with exit code 2', async () => {
    using workspace = workspaceWith({
      auth: { mode: 'jwt', jwt: { keys: [{ alg: 'RS256', pem: '-----BEGIN PUBLIC KEY-----\ncanary-pem' }] } },
    })

    const { code, stdout, stderr } = await workspace.run(['check'])

    expect(code).toBe(2)
    expect(stdout + stderr).toContain('auth.jwt.keys[0].pem')
    expect(stdout + stderr).not.toContain('canary')
  })

  test('names the file of a provider that does not load, with exit code 2', async () => {
    using workspace = workspaceWith({ auth: { mode: 'custom', provider: './provider.mjs' } })
    workspace.write('provider.mjs', "throw new Error('boom')")
    const problem = expect.stringMatching(
      /auth\.provider: .*\/provider\.mjs cannot be loaded: boom \(line 1\)\n/,
    )

    expect(await workspace.run(['check'])).toMatchObject({ code: 2, stdout: problem })
    expect(await workspace.run(['start'])).toMatchObject({ code: 2, stderr: problem })
  })

  test('reports a directory that does not exist, with exit code 1', async () => {
    using workspace = workspaceWith({})

    const { code, stdout } = await workspace.run(['check', '--db', 'nowhere/app.db'])

    expect(code).toBe(1)
    expect(stdout).toMatch(
      /^error +store +Cannot open .*nowhere does not exist\. Create it, or choose another\.$/m,
    )
  })

  test('reports what a new schema has still to do', async () => {
    using workspace = workspaceWith({ schema: 'schema.mjs' })
    await workspace.run(['migrate'])
    workspace.write('next.mjs', SCHEMA_FILE.replace('"title":', '"subtitle":{"kind":"string"},"title":'))

    const { code, stdout } = await workspace.run(['check', '--schema', 'next.mjs'])

    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^warning +schema +Pending, done by the next start or by migrate:\n +todos: .*subtitle/m,
    )
  })

  test('reports a change of the schema that has not ended', async () => {
    using workspace = workspaceWith({ schema: 'schema.mjs' })
    await workspace.run(['migrate'])
    const work = { phase: 'backfill', replays: true, doneThrough: 0, recordsDone: 0, recordsTotal: null }
    const db = new (loadSqliteDriver())(workspace.path('kora-server.db'))
    const note = db.prepare("INSERT INTO _kora_meta VALUES ('schema_change', ?)")
    note.run(JSON.stringify([{ collection: 'todos', ...work }]))
    db.close()

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +schema +Pending, .*:\n +a change .* interrupted: goes on$/m)
  })

  test('reports a schema of which no table depends', async () => {
    using workspace = workspaceWith({ schema: 'schema.mjs' })
    await workspace.run(['migrate'])
    writeFileSync(workspace.path('later.mjs'), SCHEMA_FILE.replace('"version":1', '"version":2'))

    const { code, stdout } = await workspace.run(['check', '--schema', 'later.mjs'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +schema +Pending, .*:\n +the schema is noted; no table changes$/m)
  })

  test('refuses a wrong configuration with exit code 2', async () => {
    using workspace = workspaceWith({ prot: 1, log: { level: 'loud' } })

    const { code, stdout, stderr } = await workspace.run(['check'])

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain('did you mean port?')
    expect(stderr).toContain('log.level')
  })

  test('warns of a schema whose clients would be refused', async () => {
    using workspace = workspaceWith({
      schema: 'schema.mjs', // of version 1
      supportedSchemaVersions: { min: 2, max: 3 },
    })

    const { code, stdout } = await workspace.run(['check'])

    expect(code).toBe(0)
    expect(stdout).toMatch(/^warning +schema +its version 1 is outside supportedSchemaVersions \(2 to 3\)/m)
  })

  test('says that certificate and key cannot be used, which start refuses as well', async () => {
    using workspace = workspaceWith({ tls: { certFile: 'schema.mjs', keyFile: 'schema.mjs' } })

    const check = await workspace.run(['check'])
    const start = await workspace.run(['start'])

    expect(check).toMatchObject({ code: 2, stdout: expect.stringMatching(/^error +tls/m) })
    expect(start).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('cannot be used for TLS'),
    })
  })
})

describe('check --print-config', () => {
  test('tells where each value came from, and no secret', async () => {
    using workspace = new Workspace({
      files: {
        'kora.config.json': JSON.stringify({
          port: 0,
          path: '/sync',
          auth: { mode: 'jwt', jwt: { secret: SECRET } },
          admin: { adminToken: 'canary-admin' },
        }),
        '.env': 'KORA_METRICS_TOKEN=canary-metrics\n',
      },
      env: { KORA_LOG_LEVEL: 'warn' },
    })

    const { stdout } = await workspace.run(['check', '--print-config', '--host', '127.0.0.1'])

    const line = (path: string) =>
      stdout
        .split('\n')
        .find((text) => text.startsWith(`${path} `))
        ?.split(/ {2,}/)
    expect(line('host')).toEqual(['host', '127.0.0.1', 'flag --host'])
    expect(line('path')).toEqual(['path', '/sync', 'kora.config.json'])
    expect(line('log.level')).toEqual(['log.level', 'warn', 'environment KORA_LOG_LEVEL'])
    expect(line('admin.metricsToken')).toEqual(['admin.metricsToken', '***', '.env KORA_METRICS_TOKEN'])
    expect(line('auth.jwt.secret')).toEqual(['auth.jwt.secret', '***', 'kora.config.json'])
    expect(line('shutdownTimeout')).toEqual(['shutdownTimeout', '10s', 'default'])
    expect(stdout).not.toContain('canary')
  })
})
