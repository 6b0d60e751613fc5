import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { SimulatedProcess } from '../../support/simulated-process.ts'
import { Workspace } from '../../support/terminal.ts'

const UTF_16 = Buffer.from('\uFEFFKORA_AUTH_SECRET=canary', 'utf16le')

type Prepare = (path: string) => void
const folder: Prepare = (path) => mkdirSync(path)
const deadLink: Prepare = (path) => symlinkSync('nowhere', path)

describe('a server is not started open over what is there and cannot be read', () => {
  const rows: readonly [name: string, kind: string, prepare: Prepare, problem: string][] = [
    ['kora.config.yaml', 'a folder', folder, 'is a folder, not a file. Docker makes one'],
    ['.korarc', 'a link to nothing', deadLink, 'is a link to a file that does not exist.'],
    ['kora.config.ts', 'a link to nothing', deadLink, 'is a link to a file that does not exist.'],
    ['kora.config.json', 'UTF-16', (path) => writeFileSync(path, UTF_16), 'is no text in UTF-8.'],
    ['.env', 'an empty folder', folder, 'is a folder, not a file. Docker makes one'],
    ['.env', 'a link to nothing', deadLink, 'is a link to a file that does not exist.'],
    ['.env', 'UTF-16', (path) => writeFileSync(path, UTF_16), 'is no text in UTF-8.'],
    [
      '.env',
      'UTF-16 of the other order',
      (path) => writeFileSync(path, UTF_16.swap16()),
      'is no text in UTF-8.',
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

test('a folder .env of something else is left alone, with a warning', async () => {
  using workspace = new Workspace()
  mkdirSync(workspace.path('.env/bin'), { recursive: true }) // as Python makes one

  const { code, stdout } = await workspace.run(['check', '--port', '0'])

  expect(code).toBe(0)
  expect(stdout).toMatch(/^warning +\.env +is a folder: no variable is read from it\.$/m)
})
