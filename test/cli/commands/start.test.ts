import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { SimulatedProcess } from '../../support/simulated-process.ts'
import { type RunOptions, Workspace } from '../../support/terminal.ts'
import { seedDatabase } from '../seed.ts'
import { SCHEMA_FILE } from '../todos-schema.ts'

/** Starts, hands over once `marker` is printed, and returns what the command came to. */
async function startUntil(
  marker: string,
  workspace: Workspace,
  argv: readonly string[],
  whenPrinted: (process: SimulatedProcess, output: string) => unknown,
  options: RunOptions = {},
) {
  const process = new SimulatedProcess()
  let printed = ''
  let isHandedOver = false
  const run = await workspace.run(['start', '--host', '127.0.0.1', '--port', '0', ...argv], {
    ...options,
    processEvents: process,
    onStderr(text) {
      printed += text
      if (isHandedOver || !printed.includes(marker)) return
      isHandedOver = true
      setImmediate(() => void whenPrinted(process, printed))
    },
  })
  return { ...run, process }
}

const STARTED = '"msg":"server started"'

describe('start', () => {
  test('logs JSON lines in a pipe, names the store, and ends with 0 on SIGTERM', async () => {
    using workspace = new Workspace()

    const run = await startUntil(STARTED, workspace, [], (process) => process.signal('SIGTERM'))

    const lines = run.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(run).toMatchObject({ code: 0, stdout: '' })
    expect(lines.map((line) => line.msg)).toEqual([
      'configuration loaded',
      'server started',
      'server stopping',
      'server stopped',
    ])
    expect(lines[0]).toMatchObject({
      file: 'none found, these are the defaults',
      store: 'SQLite, kora-server.db',
    })
    expect(lines[1].url).toMatch(/^ws:\/\/127\.0\.0\.1:\d{2,5}\/$/)
    expect(run.process).toMatchObject({ listenerCount: 0, exitCodes: [] })
  })

  test('warns of a variable that is named much like one, and leaves the server open', async () => {
    using workspace = new Workspace()

    const run = await startUntil(STARTED, workspace, [], (process) => process.signal('SIGTERM'), {
      env: { KORA_AUTH_SECERT: 'canary' },
    })

    const warnings = run.stderr.split('\n').filter((line) => line.includes('"level":"warn"'))
    expect(warnings.map((line) => JSON.parse(line))).toMatchObject([
      { msg: 'a setting looks like a mistake', subject: 'KORA_AUTH_SECERT' },
    ])
    expect(run.stderr).not.toContain('canary')
  })

  test('warns once of a field that is required now, and that stored records may lack', async () => {
    using workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE } })
    await seedDatabase(workspace.path('kora-server.db'), [{ title: 'a' }])
    workspace.write(
      'next.mjs',
      SCHEMA_FILE.replace('"title":', '"owner":{"kind":"string","required":true},"title":'),
    )
    const start = () =>
      startUntil(STARTED, workspace, ['--schema', 'next.mjs'], (process) => process.signal('SIGTERM'))

    const first = await start()
    const second = await start()

    const warnings = first.stderr.split('\n').filter((line) => line.includes('"level":"warn"'))
    expect(warnings.map((line) => JSON.parse(line))).toMatchObject([{ collection: 'todos', field: 'owner' }])
    expect(second.stderr).not.toContain('"level":"warn"')
  })

  test('warns once of what was written of a field before the schema had it, and does not fit', async () => {
    using workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE } })
    await seedDatabase(workspace.path('kora-server.db'), [{ title: 'a', owner: 5 }])
    const owner = '"owner":{"kind":"string","required":false}'
    workspace.write('next.mjs', SCHEMA_FILE.replace('"title":', `${owner},"title":`))
    const start = () =>
      startUntil(STARTED, workspace, ['--schema', 'next.mjs'], (process) => process.signal('SIGTERM'))

    const first = await start()
    const second = await start()

    const warnings = first.stderr.split('\n').filter((line) => line.includes('"level":"warn"'))
    expect(warnings.map((line) => JSON.parse(line))).toMatchObject([
      {
        msg: 'operations of the log do not fit a field that is new in the schema',
        collection: 'todos',
        field: 'owner',
        expectation: 'a string',
        operations: 1,
      },
    ])
    expect(second.stderr).not.toContain('"level":"warn"')
  })

  test('warns of settings that do not do what they say', async () => {
    using workspace = new Workspace({
      files: { 'kora.config.json': '{ "log": {}, "server": { "http": { "staticDir": "nowhere" } } }' },
    })

    const run = await startUntil(STARTED, workspace, [], (process) => process.signal('SIGTERM'))

    const warnings = run.stderr.split('\n').filter((line) => line.includes('"level":"warn"'))
    expect(warnings.map((line) => JSON.parse(line))).toMatchObject([
      { subject: 'log', detail: expect.stringContaining('stands beside server') },
      { subject: 'http.staticDir', detail: expect.stringContaining('nowhere does not exist') },
    ])
  })

  test('shows on a terminal what is served, from what, and to whom', async () => {
    using workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE } })

    const run = await startUntil(
      'Ctrl+C',
      workspace,
      ['--schema', 'schema.mjs'],
      (process) => process.signal('SIGINT'),
      { isTerminal: true, env: { KORA_LOG_LEVEL: 'error' } },
    )

    expect(run).toMatchObject({ code: 0, stdout: '' })
    await expect(
      run.stderr.replaceAll(/:\d{4,5}\//g, ':<port>/').replace(/kora-server \S+/, 'kora-server <version>'),
    ).toMatchFileSnapshot('../expected/banner.txt')
  })

  test('says how the dashboard is opened where it is closed, and names no status that nobody may read', async () => {
    using workspace = new Workspace()

    const run = await startUntil(
      'Ctrl+C',
      workspace,
      ['--host', '0.0.0.0'],
      (process) => process.signal('SIGINT'),
      { isTerminal: true, env: { KORA_LOG_LEVEL: 'error' } },
    )

    expect(run.stderr).toContain('  Dashboard  closed: set KORA_ADMIN_TOKEN to open it\n')
    expect(run.stderr).not.toContain('/__kora')
  })

  test('serves health and the sync path on the port that it prints', async () => {
    using workspace = new Workspace()
    let answers: Promise<number[]> | undefined

    await startUntil(STARTED, workspace, [], async (process, output) => {
      const url = (/"url":"ws:([^"]+)"/.exec(output)?.[1] ?? '').replace(/^/, 'http:')
      const statusOf = async (path: string) => (await fetch(new URL(path, url))).status
      answers = Promise.all([statusOf('/health'), statusOf('/ready'), statusOf('/nothing')])
      await answers.finally(() => process.signal('SIGTERM'))
    })

    expect(await answers).toEqual([200, 200, 404])
  })

  test('fills the tables before it listens', async () => {
    using workspace = new Workspace({ files: { 'schema.mjs': SCHEMA_FILE } })

    await startUntil(STARTED, workspace, ['--schema', 'schema.mjs'], (process) => process.signal('SIGTERM'))

    expect(await workspace.run(['query', 'todos', '--count'])).toMatchObject({
      code: 0,
      stdout: '{"count":0}\n',
    })
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ends at once on a second %s', async (signal, code) => {
    using workspace = new Workspace()

    const run = await startUntil(STARTED, workspace, [], (process) => {
      process.signal('SIGTERM')
      process.signal(signal)
    })

    expect(run.process.exitCodes).toEqual([code])
  })

  test('logs what nobody caught, and ends with 1', async () => {
    using workspace = new Workspace()

    const run = await startUntil(STARTED, workspace, [], (process) => {
      process.fail(new Error('a bug'))
      process.signal('SIGTERM')
    })

    expect(run.process.exitCodes).toEqual([1])
    expect(run.stderr).toContain('"msg":"uncaught error, the process ends"')
    expect(run.stderr).toContain('a bug')
  })
})

describe('start refuses', () => {
  test('a port that is taken, with 1', async () => {
    const blocker = createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    const { port } = blocker.address() as { port: number }
    using workspace = new Workspace()

    const run = await workspace.run([
      'start',
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
      '--log-level',
      'error',
    ])
    blocker.close()

    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toMatch(/^error: Port \d+ on 127\.0\.0\.1 is in use by another process\./)
  })

  test.each([
    [['--port', 'eighty'], 2, '--port'],
    [['--db', 'missing/app.db'], 1, 'missing/app.db'],
    [['--schema', 'broken.mjs'], 2, 'broken.mjs'],
    [['--config', 'nowhere.json'], 2, 'nowhere.json'],
    [['--store', 'redis'], 2, 'redis'],
    [['--store', 'postgres', '--db', 'postgres://kora:canary@127.0.0.1:1/kora'], 1, '127.0.0.1:1'],
  ])('%s', async (argv, code, message) => {
    using workspace = new Workspace({ files: { 'broken.mjs': 'export default { version: "one" }' } })

    const run = await workspace.run(['start', '--log-level', 'error', '--port', '0', ...argv])

    expect(run).toMatchObject({ code, stdout: '' })
    expect(run.stderr).toMatch(/^error: /)
    expect(run.stderr).toContain(message)
    expect(run.stderr).not.toMatch(/canary|^\s+at /m)
  })

  test('anything with a stack only at --log-level debug', async () => {
    using workspace = new Workspace()

    const run = await workspace.run(['start', '--db', 'missing/app.db', '--log-level', 'debug'])

    expect(run.code).toBe(1)
    expect(run.stderr).toMatch(/^\s+at /m)
  })
})
