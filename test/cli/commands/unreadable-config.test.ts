import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { SimulatedProcess } from '../../support/simulated-process.ts'
import { Workspace } from '../../support/terminal.ts'

const LATIN_1 = Buffer.from('# canary \xe4', 'latin1')
const LATIN_1_PACKAGE = Buffer.from('{ "author": "J\xe4ger", "kora": { "port": 0 } }', 'latin1')
const UTF_16 = Buffer.from('\uFEFFKORA_AUTH_SECRET=canary', 'utf16le')

type Prepare = (path: string) => void
const folder: Prepare = (path) => mkdirSync(path)
const deadLink: Prepare = (path) => symlinkSync('nowhere', path)

describe('a server is not started open over what is there and cannot be read', () => {
  const rows: readonly [name: string, kind: string, prepare: Prepare, problem: string][] = [
    ['kora.config.yaml', 'a folder', folder, 'is a folder, not a file. Docker makes one'],
    ['.korarc', 'a link to nothing', deadLink, 'is a link to a file that does not exist.'],
    ['kora.config.ts', 'a link to nothing', deadLink, 'is a link to a file that does not exist.'],
    ['kora.config.json', 'UTF-16', (path) => writeFileSync(path, UTF_16), 'is not text in UTF-8.'],
    ['kora.config.yaml', 'Latin-1', (path) => writeFileSync(path, LATIN_1), 'is not text in UTF-8.'],
    ['package.json', 'Latin-1', (path) => writeFileSync(path, LATIN_1_PACKAGE), 'is not text in UTF-8.'],
    ['.env', 'Latin-1', (path) => writeFileSync(path, LATIN_1), 'is not text in UTF-8.'],
    ['.env', 'an empty folder', folder, 'is a folder, not a file. Docker makes one'],
    ['.env', 'a link to nothing', deadLink, 'is a link to a file that does not exist.'],
    ['.env', 'UTF-16', (path) => writeFileSync(path, UTF_16), 'is not text in UTF-8.'],
    [
      '.env',
      'UTF-16 of the other order',
      (path) => writeFileSync(path, UTF_16.swap16()),
      'is not text in UTF-8.',
    ],
  ]
  test.each(rows)('%s: %s', async (name, _kind, prepare, problem) => {
    using workspace = new Workspace()
    prepare(workspace.path(name))
    const processEvents = new SimulatedProcess()
    const stopWhenStarted = (text: string) => {
      if (text.includes('server started')) setImmediate(() => processEvents.signal('SIGTERM'))
    }

    const run = await workspace.run(['start', '--port', '0'], { processEvents, onStderr: stopWhenStarted })

    expect(run).toEqual({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(`${workspace.path(name)} ${problem}`),
    })
    expect(run.stderr).not.toContain('canary')
    expect(existsSync(workspace.path('kora-server.db'))).toBe(false)
  })
})

test('a package.json of others is left alone, whatever its encoding', async () => {
  using workspace = new Workspace()
  writeFileSync(workspace.path('package.json'), Buffer.from('{ "author": "J\xe4ger" }', 'latin1'))

  expect(await workspace.run(['check', '--port', '0'])).toMatchObject({ code: 0, stderr: '' })
})

test('a folder that is named is not to be removed, unless it is one that Docker makes', async () => {
  using workspace = new Workspace()
  mkdirSync(workspace.path('empty'))
  mkdirSync(workspace.path('project'))
  workspace.write('project/kora.config.yaml', 'port: 0')

  const empty = await workspace.run(['check', '--config', 'empty'])
  const project = await workspace.run(['check', '--config', 'project'])

  expect(empty).toMatchObject({ code: 2, stderr: expect.stringContaining('Docker makes one') })
  expect(project).toMatchObject({
    code: 2,
    stderr: `error: ${workspace.path('project')} is a folder, not a file. Name the file in it.\n`,
  })
})

test('a named file that cannot be looked for is not said to be missing', async () => {
  using workspace = new Workspace({ files: { file: '' } })
  symlinkSync('loop', workspace.path('loop'))

  const looped = await workspace.run(['check', '--config', 'loop/kora.config.yaml'])
  const missing = await workspace.run(['check', '--config', 'nowhere/kora.config.yaml'])
  const belowFile = await workspace.run(['check', '--config', 'file/kora.config.yaml'])

  expect(looped).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot be read (ELOOP).') })
  for (const run of [missing, belowFile]) {
    expect(run).toMatchObject({ code: 2, stderr: expect.stringContaining('does not exist.') })
  }
})

test('a folder .env of something else is left alone, with a warning', async () => {
  using workspace = new Workspace()
  mkdirSync(workspace.path('.env/bin'), { recursive: true }) // as Python makes one

  const { code, stdout } = await workspace.run(['check', '--port', '0'])

  expect(code).toBe(0)
  expect(stdout).toMatch(/^warning +\.env +is a folder: no variable is read from it\.$/m)
})
