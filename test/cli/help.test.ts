import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { cliReference } from '../../scripts/reference/cli-reference.ts'
import { Workspace } from '../support/terminal.ts'

const COMMANDS = [
  '',
  'start',
  'migrate',
  'query',
  'log',
  'status',
  'check',
  'init',
  'token',
  'token inspect',
  'revoke',
  'backup',
  'restore',
  'compact',
  'completion',
]

describe('--help', () => {
  test.each(COMMANDS)('of "%s" reads as before', async (command) => {
    using workspace = new Workspace()

    const { code, stdout, stderr } = await workspace.run([...words(command), '--help'])

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    await expect(stdout).toMatchFileSnapshot(
      `expected/help${words(command)
        .map((word) => `-${word}`)
        .join('')}.txt`,
    )
  })

  test.each(COMMANDS.slice(1))(
    'of "%s" has --config and --log-level, as of every command',
    async (command) => {
      using workspace = new Workspace()

      const { stdout } = await workspace.run([...words(command), '--help'])

      expect(stdout).toMatch(/^ {2}-c, --config <file> /m)
      expect(stdout).toMatch(/^ {2}--log-level <level> /m)
    },
  )

  test.each(COMMANDS)('of "%s" has an example', async (command) => {
    using workspace = new Workspace()

    const { stdout } = await workspace.run([...words(command), '--help'])

    expect(stdout).toMatch(/^Examples?:\n {2}\$ kora-server /m)
  })
})

describe('mistakes on the command line', () => {
  test.each([
    ['no command', []],
    ['a misspelled command', ['strat']],
    ['a misspelled flag', ['start', '--prot', '1']],
    ['a flag without its value', ['start', '--port']],
    ['a level that does not exist', ['start', '--log-level', 'loud']],
    ['a missing argument', ['query']],
    ['an argument too many', ['query', 'todos', 'projects']],
  ])('%s ends with 2 and a message', async (name, argv) => {
    using workspace = new Workspace()

    const { code, stdout, stderr } = await workspace.run(argv)

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    await expect(stderr).toMatchFileSnapshot(`expected/mistake-${name.replaceAll(' ', '-')}.txt`)
  })
})

test('--version prints the version only', async () => {
  using workspace = new Workspace()

  const { code, stdout, stderr } = await workspace.run(['--version'])

  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

function words(command: string): string[] {
  return command.split(' ').filter((word) => word !== '')
}

test('docs/cli.md follows from the commands (npm run generate)', async () => {
  expect(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')).toBe(await cliReference())
})
