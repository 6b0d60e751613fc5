import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { canMount, SmallDisk } from '../../support/disk/small-disk.ts'
import { Workspace } from '../../support/terminal.ts'
import { manyTodos, seedDatabase } from '../seed.ts'

const IS_LINUX = process.platform === 'linux'

/** So that there is room for the configuration, and for no schema beside it. */
function fillButForOneFile(disk: SmallDisk): void {
  const [room, rest] = [join(disk.path, 'room'), join(disk.path, 'rest')]
  writeFileSync(room, Buffer.alloc(2048))
  disk.fill(64 * 1024)
  const isWritten = (): boolean => {
    try {
      writeFileSync(rest, Buffer.alloc(512), { flag: 'a', flush: true })
      return true
    } catch {
      return false
    }
  }
  while (isWritten());
  rmSync(room)
}

describe('init', () => {
  test('writes files that check accepts, and overwrites nothing', async () => {
    using workspace = new Workspace()

    expect(await workspace.run(['init'])).toMatchObject({ code: 0, stderr: expect.stringContaining('Next:') })
    expect(await workspace.run(['check'])).toMatchObject({ code: 0 })
    for (const name of ['kora.config.ts', 'schema.ts']) {
      // They are examples of this repository too, of which whoever begins with them knows nothing.
      expect(readFileSync(workspace.path(name), 'utf8')).not.toMatch(/README|npm start|Docker|example app/)
    }

    workspace.write('schema.ts', 'mine')
    const again = await workspace.run(['init'])
    expect(again.code).toBe(2)
    expect(again.stderr).toBe(
      'error: kora.config.ts and schema.ts are there already, so nothing was written. --force overwrites.\n',
    )
    expect(readFileSync(workspace.path('schema.ts'), 'utf8')).toBe('mine')
    expect(await workspace.run(['init', '--force'])).toMatchObject({ code: 0 })
    expect(readFileSync(workspace.path('schema.ts'), 'utf8')).toContain('defineSchema')
  })

  test('names the commands that come next as it was called itself', async () => {
    using workspace = new Workspace()

    const { stderr } = await workspace.run(['init'], { env: { npm_command: 'exec' } })

    expect(stderr).toMatch(/^ {2}2\. npx kora-server check {4}/m)
    expect(stderr).toMatch(/^ {2}3\. npx kora-server start /m)
  })

  test('writes the configuration under another name, which check reads', async () => {
    using workspace = new Workspace()

    const init = await workspace.run(['init', 'server', '-c', 'etc/production.config.ts'])
    const check = await workspace.run(['check', '--config', 'server/etc/production.config.ts'])

    expect(init).toMatchObject({ code: 0, stdout: '' })
    expect(init.stderr).toBe(`Wrote server/etc/production.config.ts and server/etc/schema.ts.

Next:
  cd server
  1. Put the collections of your app into schema.ts.
  2. kora-server check --config etc/production.config.ts     says whether the server would start
  3. kora-server start --config etc/production.config.ts     serves your app
  4. kora-server query … --config etc/production.config.ts   shows what it stored
`)
    expect(check).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ok +schema +version 1/m) })
    expect(await workspace.run(['init', '--config', 'kora.config.yaml'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Name a file that ends in .ts.'),
    })
    const again = ['init', 'server', '-c', 'etc/production.config.ts', '--log-level', 'debug']
    expect(await workspace.run(again)).toMatchObject({ code: 2, stderr: expect.stringMatching(/^\s+at /m) })
  })

  test.each(['schema.ts', 'etc/Schema.ts'])(
    'writes nothing where %s would be both of its files',
    async (name) => {
      using workspace = new Workspace()

      const runs = [
        await workspace.run(['init', '-c', name]),
        await workspace.run(['init', '--force', '-c', name]),
      ]

      const stderr = `error: --config: ${name} is where init writes the schema. Give the configuration another name.\n`
      expect(runs).toEqual(runs.map(() => ({ code: 2, stdout: '', stderr })))
      expect(readdirSync(workspace.path('.'))).toEqual([])
    },
  )

  test('makes the directory that it is told', async () => {
    using workspace = new Workspace()

    expect(await workspace.run(['init', 'deep/server'])).toMatchObject({ code: 0 })
    expect(readFileSync(workspace.path('deep/server/kora.config.ts'), 'utf8')).toContain('defineConfig')
  })

  test.runIf(IS_LINUX)('ends where the file system makes no directory', async () => {
    using workspace = new Workspace()

    expect(await workspace.run(['init', '/proc/nope/x'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'error: /proc/nope/x cannot be made there. Choose another.\n',
    })
  })

  test.runIf(canMount('init'))('leaves nothing half on a disk that is full, and what was there', async () => {
    using disk = new SmallDisk(8)
    using workspace = new Workspace()
    fillButForOneFile(disk)
    const message = (folder: string) => `error: ${folder} is on a disk that is full. Free some space.\n`

    expect(await workspace.run(['init', disk.path])).toEqual({
      code: 1,
      stdout: '',
      stderr: message(disk.path),
    })
    const filled = readdirSync(disk.path)
    expect(await workspace.run(['init', join(disk.path, 'a', 'b')])).toMatchObject({ code: 1 })
    expect(readdirSync(disk.path)).toEqual(filled)
    expect(filled.filter((name) => name.includes('.ts'))).toEqual([])

    disk.free()
    expect(await workspace.run(['init', disk.path])).toMatchObject({ code: 0 })
    writeFileSync(join(disk.path, 'schema.ts'), 'mine')
    fillButForOneFile(disk)
    expect(await workspace.run(['init', disk.path, '--force'])).toMatchObject({
      code: 1,
      stderr: message(disk.path),
    })
    expect(readFileSync(join(disk.path, 'schema.ts'), 'utf8')).toBe('mine')
    expect(readdirSync(disk.path).filter((name) => name.includes('.ts'))).toEqual([
      'kora.config.ts',
      'schema.ts',
    ])
    disk.isReadOnly = true
    expect(await workspace.run(['init', disk.path, '--force'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('is on a read-only file system'),
    })
    disk.isReadOnly = false
  })

  test('replaces nothing where one of its files is a folder', async () => {
    using workspace = new Workspace({ files: { 'kora.config.ts': 'mine' } })
    mkdirSync(workspace.path('schema.ts'))

    expect(await workspace.run(['init', '--force'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'error: schema.ts is a folder, so nothing was written. Choose another directory.\n',
    })
    expect(readFileSync(workspace.path('kora.config.ts'), 'utf8')).toBe('mine')
    expect(readdirSync(workspace.path('.')).toSorted()).toEqual(['kora.config.ts', 'schema.ts'])
  })

  test('replaces what a link leads to, and not the link', async () => {
    using workspace = new Workspace()
    mkdirSync(workspace.path('shared'))
    workspace.write('shared/schema.ts', 'mine')
    symlinkSync(join('shared', 'schema.ts'), workspace.path('schema.ts'))

    expect(await workspace.run(['init', '--force'])).toMatchObject({ code: 0 })
    expect(readlinkSync(workspace.path('schema.ts'))).toBe(join('shared', 'schema.ts'))
    expect(readFileSync(workspace.path('shared/schema.ts'), 'utf8')).toContain('defineSchema')
    expect(readdirSync(workspace.path('shared'))).toEqual(['schema.ts'])
  })

  test('says of a directory that cannot be written that another is to be named', async () => {
    using workspace = new Workspace({ files: { server: 'a file' } })

    expect(await workspace.run(['init', 'server/deep'])).toEqual({
      code: 2,
      stdout: '',
      stderr: `error: ${workspace.path('server/deep')} is not a folder. Choose another.\n`,
    })
  })
})

describe('revoke', () => {
  test('is listed, and can be taken back', async () => {
    using workspace = new Workspace()
    await seedDatabase(workspace.path('kora-server.db'), manyTodos(1))

    expect(await workspace.run(['revoke', '--list'])).toMatchObject({
      code: 0,
      stderr: 'Nothing is revoked.\n',
    })
    const revoked = await workspace.run(['revoke', '--user', 'ada'])
    expect(revoked.stderr).toMatch(/^Tokens of user "ada" that were issued up to \d{4}-.*Z are refused\./)
    await workspace.run(['revoke', '--device', 'phone'])
    await workspace.run(['revoke', '--all'])
    const { stdout } = await workspace.run(['revoke', '--list'])
    expect(stdout.replace(/\d{4}-\S+Z/g, '<time>')).toBe(
      [
        'kind    id      tokens up to',
        'user    ada     <time>',
        'device  phone   <time>',
        'all             <time>',
        '',
      ].join('\n'),
    )
    const lines = (await workspace.run(['revoke', '--list', '--format', 'ndjson'])).stdout.trim().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { kind: 'user', value: 'ada' },
      { kind: 'device', value: 'phone' },
      { kind: 'all' },
    ])
    expect(await workspace.run(['revoke', '--undo', '--user', 'ada'])).toMatchObject({ code: 0 })
    expect(await workspace.run(['revoke', '--undo', '--user', 'ada'])).toMatchObject({ code: 1 })
  })

  test.each([[[]], [['--user', 'a', '--all']], [['--list', '--all']], [['--undo']], [['--user', '']]])(
    'refuses %j',
    async (flags) => {
      using workspace = new Workspace()

      expect(await workspace.run(['revoke', ...flags])).toMatchObject({ code: 2 })
    },
  )

  test('makes no database where there is none', async () => {
    using workspace = new Workspace()

    expect(await workspace.run(['revoke', '--all'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('kora-server.db does not exist'),
    })
  })
})

describe('status', () => {
  test('prints what the server says, and asks with the token', async () => {
    using workspace = new Workspace()
    await using server = await serve({
      '/__kora/status': (token) =>
        token === 'Bearer secret'
          ? [200, { ready: true, connectedClients: 3, uptime: 65_000 }]
          : [401, { error: 'No.' }],
      '/ready': () => [200, { status: 'ready' }],
    })

    const full = await workspace.run(['status', '--url', server.url, '--token', 'secret'])
    expect(full).toMatchObject({ code: 0, stderr: '' })
    expect(full.stdout).toBe('status             ready\nconnected clients  3\nuptime             1 min 5 s\n')

    const closed = await workspace.run(['status', '--url', server.url, '--token', 'wrong'])
    const note = 'Only the health is shown, because the server did not give its status:'
    const advice = 'Give the admin token of the server with --token, or in KORA_ADMIN_TOKEN.'
    expect(closed).toEqual({ code: 1, stdout: 'status  ready\n', stderr: `${note} No. ${advice}\n` })
    workspace.write('kora.config.json', '{}')
    const without = await workspace.run(['status', '--url', server.url])
    expect(without).toEqual({
      code: 0,
      stdout: 'status  ready\n',
      stderr: `${note} It asks for a token. ${advice}\n`,
    })
    expect(await workspace.run(['status', '--url', server.url, '--ready'])).toEqual({
      code: 0,
      stdout: 'ready\n',
      stderr: '',
    })
    const env = { KORA_ADMIN_TOKEN: 'secret' }
    const json = await workspace.run(['status', '--url', server.url, '--format', 'json'], { env })
    expect(JSON.parse(json.stdout)).toMatchObject({ connectedClients: 3 })
  })

  test.each(['canary\n', ' canary', 'канарейка'])(
    'refuses %j, which no header carries as a token',
    async (token) => {
      using workspace = new Workspace()

      const { code, stdout, stderr } = await workspace.run([
        'status',
        '--url',
        'http://127.0.0.1:9',
        '--token',
        token,
      ])

      expect(code).toBe(2)
      expect(stderr).toMatch(/--token: .*header/)
      expect(stdout + stderr).not.toContain(token.trim())
    },
  )

  test('ends with 1 and the reason when the server is not healthy, or not there', async () => {
    using workspace = new Workspace()
    await using server = await serve({
      '/__kora/status': () => [200, { ready: false, reason: 'The disk is full.' }],
      '/ready': () => [503, { status: 'unavailable', reason: 'The disk is full.' }],
    })

    for (const flags of [['--ready'], ['--token', 'x']]) {
      expect(await workspace.run(['status', '--url', server.url, ...flags])).toMatchObject({
        code: 1,
        stderr: 'Not ready: The disk is full.\n',
      })
    }
    await server[Symbol.asyncDispose]()
    expect(await workspace.run(['status', '--url', server.url, '--ready'])).toMatchObject({
      code: 1,
      stderr: `No server answers at ${server.url}: the connection was refused. Is it running?\n`,
    })
    expect(await workspace.run(['status', '--url', 'ftp://x', '--ready'])).toMatchObject({ code: 2 })
  })
})

describe('status takes for no server that is healthy', () => {
  const page = '<html>front end</html>'
  test.each([
    ['a page at every path', page],
    ['JSON of something else', '{"status":"ok"}'],
    ['a list', '["ready"]'],
  ])('%s', async (_name, body) => {
    using workspace = new Workspace()
    await using server = await serveEverywhere(body)
    const message = new RegExp(`^Something other than kora-server answers at ${server.url}: `)

    const ready = await workspace.run(['status', '--ready', '--url', server.url])
    const status = await workspace.run(['status', '--url', server.url, '--token', 'x'])
    const json = await workspace.run(['status', '--url', server.url, '--format', 'json'])

    expect(ready).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(message) })
    expect(status).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(message) })
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout)).toEqual({ ready: false, reason: expect.stringMatching(message) })
  })

  test('what says only that it is ready', async () => {
    using workspace = new Workspace()
    await using server = await serveEverywhere('{"ready":true}')

    expect(await workspace.run(['status', '--url', server.url])).toMatchObject({ code: 1, stdout: '' })
  })
})

describe('completion', () => {
  test.each(['bash', 'zsh', 'fish'])('of %s knows every command', async (shell) => {
    using workspace = new Workspace()

    const { code, stdout } = await workspace.run(['completion', shell])

    expect(code).toBe(0)
    for (const word of ['start', 'restore', 'inspect', 'rebuild', 'ndjson']) expect(stdout).toContain(word)
  })

  test.each([
    ['kora-server re', ['revoke', 'restore']],
    ['kora-server token in', ['inspect']],
    ['kora-server log --format c', ['csv']],
    ['kora-server completion z', ['zsh']],
    ['kora-server query todos --inc', ['--include-deleted']],
  ])('of bash completes "%s"', async (line, expected) => {
    using workspace = new Workspace()
    workspace.write('completion.bash', (await workspace.run(['completion', 'bash'])).stdout)
    const words = line.split(' ')
    const script = `source completion.bash
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
      _kora_server; printf '%s\\n' "\${COMPREPLY[@]}"`

    const output = execFileSync('bash', ['-c', script], { cwd: workspace.directory, encoding: 'utf8' })

    expect(output.trim().split('\n')).toEqual(expected)
  })

  test('takes the options of every command', async () => {
    using workspace = new Workspace()

    const run = await workspace.run(['completion', 'bash', '-c', 'kora.config.ts', '--log-level', 'warn'])

    expect(run).toMatchObject({ code: 0, stderr: '' })
  })

  test('refuses other shells', async () => {
    using workspace = new Workspace()

    expect(await workspace.run(['completion', 'cmd'])).toMatchObject({ code: 2 })
  })
})

/** What serves the page of an app at whatever path. */
function serveEverywhere(body: string): Promise<{ url: string } & AsyncDisposable> {
  return listening(createServer((_request, response) => response.setHeader('connection', 'close').end(body)))
}

type Answer = (authorization: string | undefined) => [status: number, body: object]

async function serve(answers: {
  readonly [path: string]: Answer
}): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const [status, body] = answers[request.url ?? '']?.(request.headers.authorization) ?? [404, {}]
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
    response.end(JSON.stringify(body))
  })
  return listening(server)
}

async function listening(server: Server): Promise<{ url: string } & AsyncDisposable> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  }
}
