import { spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { manyTodos, seedDatabase } from '../cli/seed.ts'
import { runCli, startDaemon } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { Workspace } from '../support/terminal.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'

const BIN = fileURLToPath(new URL('../../bin/kora-server.js', import.meta.url))

describe('the built kora-server', () => {
  test('prints its help on stdout', async () => {
    const { code, stdout, stderr } = await runCli(['--help'])

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^Usage: kora-server /)
  })

  test('serves without any configuration, drains on SIGTERM and ends with 0', async () => {
    await using daemon = await startDaemon()

    const health = await fetch(`${daemon.httpUrl}/health`)
    const exit = await daemon.kill('SIGTERM')

    expect(health.status).toBe(200)
    expect(exit).toEqual({ code: 0, signal: null })
    expect(daemon.log.map((line) => line.msg)).toContain('server stopped')
  })

  test('ends with 0 on SIGINT as well', async () => {
    await using daemon = await startDaemon()

    expect(await daemon.kill('SIGINT')).toEqual({ code: 0, signal: null })
  })

  test('answers queries beside the running server, and writes nothing', async () => {
    await using daemon = await startDaemon({
      args: ['--schema', 'schema.mjs'],
      files: { 'schema.mjs': schemaFile() },
    })
    await using device = await openDevice({ url: daemon.url, schema: todoSchema, name: 'phone' })
    const id = device.insert('todos', { title: 'Buy milk' })
    await device.synced()

    const record = await daemon.run(['query', 'todos', '--id', id, '--fields', 'title,done'])
    const count = await daemon.run(['query', 'todos', '--count', '--format', 'json'])

    expect(record).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(record.stdout)).toEqual({ title: 'Buy milk', done: false })
    expect(count.stdout).toBe('{"count":1}\n')
  })

  test('is silent when whoever reads its output has seen enough', async () => {
    using workspace = new Workspace()
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(3000))

    const child = spawn(process.execPath, [BIN, 'query', 'todos', '--format', 'ndjson'], {
      cwd: workspace.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stderr = ''
    child.stderr.on('data', (data) => {
      stderr += data
    })
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise((resolve) => child.once('close', resolve))

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })

  test.each([
    ['check', 'http: { staticDir: kora.config.yaml }', 2],
    ['check --print-config', 'http: { staticDir: kora.config.yaml }', 2],
    ['check --format json', 'http: { staticDir: kora.config.yaml }', 2],
    ['query todos --id nobody', '{}', 1],
    ['token inspect abc', `auth: { mode: jwt, jwt: { secret: ${'x'.repeat(32)} } }`, 1],
  ])('exits as it would have, where whoever reads ends early: %s', async (command, config, expected) => {
    using workspace = new Workspace({ files: { 'kora.config.yaml': config } })
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))
    const args = [BIN, ...command.split(' ')]
    const read = spawnSync(process.execPath, args, { cwd: workspace.directory, encoding: 'utf8' })

    const child = spawn(process.execPath, args, {
      cwd: workspace.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    const code = await new Promise((resolve) => child.once('close', resolve))

    expect({ read: read.status, code }).toEqual({ read: expected, code: expected })
  })

  test('fails when whoever reads a backup ends before it is whole', async () => {
    using workspace = new Workspace()
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))

    const child = spawn(process.execPath, [BIN, 'backup', '-'], {
      cwd: workspace.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    const [stderr, code] = await Promise.all([
      text(child.stderr),
      new Promise((resolve) => child.once('close', resolve)),
    ])

    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        'error: The backup is incomplete: stdout cannot be written (EPIPE). What came out of it cannot be restored.\n',
    })
  })

  test.each([
    [['query', 'todos'], 'The output is incomplete: stdout cannot be written (ENOSPC).'],
    [['query', '--help'], 'The output is incomplete: stdout cannot be written (ENOSPC).'],
    [
      ['backup', '-'],
      'The backup is incomplete: stdout cannot be written (ENOSPC). What came out of it cannot be restored.',
    ],
  ])('says that its output does not fit where it is written to: %j', async (args, message) => {
    using workspace = new Workspace()
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))
    const full = openSync('/dev/full', 'w')

    const { status, stderr } = spawnSync(process.execPath, [BIN, ...args], {
      cwd: workspace.directory,
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    })
    closeSync(full)

    expect({ status, stderr }).toEqual({ status: 1, stderr: `error: ${message}\n` })
  })

  test('ends on a signal while it is still starting', async () => {
    using workspace = new Workspace({
      files: { 'kora.config.mjs': 'await new Promise((resolve) => setTimeout(resolve, 60_000, null))\n' },
    })

    const child = spawn(process.execPath, [BIN, 'start'], { cwd: workspace.directory, stdio: 'ignore' })
    await new Promise((resolve) => setTimeout(resolve, 500))
    child.kill('SIGTERM')
    const end = await new Promise((resolve) =>
      child.once('exit', (code, signal) => resolve({ code, signal })),
    )

    expect([
      { code: 143, signal: null },
      { code: null, signal: 'SIGTERM' },
    ]).toContainEqual(end)
  })

  test.runIf(canUnshare())('takes its signals as the first process of a container', async () => {
    using workspace = new Workspace()
    const child = spawn(
      'unshare',
      ['--pid', '--fork', '--kill-child', process.execPath, BIN, 'start', '--port', '0'],
      { cwd: workspace.directory, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let log = ''
    await new Promise<void>((resolve) => {
      child.stderr.on('data', (data) => {
        log += data
        if (log.includes('server started')) resolve()
      })
      child.once('exit', () => resolve())
    })
    // unshare itself ignores the signal: it has to reach the process inside.
    const [inside = ''] = spawnSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' }).stdout.split(
      '\n',
    )
    process.kill(Number(inside), 'SIGTERM')
    const code = await new Promise((resolve) => child.once('exit', resolve))

    expect(log).toContain('server stopped')
    expect(code).toBe(0)
  })
})

/** Needs rights that not every machine gives. */
function canUnshare(): boolean {
  return (
    spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0 && spawnSync('pgrep', ['-V']).status === 0
  )
}
