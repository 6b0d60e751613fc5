import { describe, expect, test } from 'vitest'
import { Workspace } from '../../support/terminal.ts'

const COMMANDS = [['start', '--port', '0'], ['check'], ['check', '--print-config', '--format', 'json']]

describe.each(COMMANDS)('%s shows no password of a database', (...command) => {
  test.each([
    ['a "/" in it', 'postgres://kora:pa/canary@127.0.0.1:1/db', 'does not parse; in a user name or password'],
    ['what looks like a port and a path', 'postgres://kora:12/canary@127.0.0.1/db', 'does not parse'],
    ['what looks like a port and a query', 'postgres://kora:12?canary@127.0.0.1/db', 'does not parse'],
    [
      'a "?" in it, after what looks like a host',
      'postgres://kora:12?a=1&canary@127.0.0.1/db',
      'does not parse',
    ],
    ['an "@" and a "?" in it', 'postgres://kora:12@34?canary@127.0.0.1/db', 'does not parse'],
    ['a "#" in it', 'postgresql://kora:pa#canary@127.0.0.1/db', 'does not parse'],
    ['a scheme in capitals', 'POSTGRES://kora:pa/canary@127.0.0.1/db', 'does not parse'],
    ['a "%" in it', 'postgres://kora:50%canary@127.0.0.1/db', 'write the % itself as %25'],
    [
      'an escape of another encoding',
      'postgres://kora:%E9canary@127.0.0.1/db',
      'does not start an escape of UTF-8 text',
    ],
    ['another database', 'mysql://kora:canary@127.0.0.1/db', 'is a URL; expected a path'],
    ['a URL without its colon', 'postgres//kora:canary@127.0.0.1/db', 'Did you mean one that starts with'],
    ['a URL with one slash', 'postgresql:/kora:canary@127.0.0.1/db', 'Did you mean one that starts with'],
  ])('with %s, and names the input wrong', async (_kind, url, problem) => {
    using workspace = new Workspace()
    const variable = /^postgres(ql)?:\/\//i.test(url) ? 'DATABASE_URL' : 'KORA_DB'

    const byFlag = await workspace.run([...command, '--db', url])
    const byVariable = await workspace.run(command, { env: { [variable]: url } })

    for (const { code, stdout, stderr } of [byFlag, byVariable]) {
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toContain(problem)
      expect(stderr).not.toMatch(/canary|not foreseen/)
    }
    expect(byFlag.stderr).toContain('(--db): ')
    expect(byVariable.stderr).toContain(`(${variable}): `)
  })
})

test('a password that stands in the query of the URL, or is written as it has to be, is not shown either', async () => {
  using workspace = new Workspace()

  for (const url of [
    'postgres://127.0.0.1:1/db?user=kora&password=canary',
    'POSTGRES://kora:pa%2Fcanary@127.0.0.1:1/db',
    'postgres://kora:canary@/db?host=/nowhere',
  ]) {
    const { code, stdout, stderr } = await workspace.run(['check', '--print-config', '--db', url])

    expect(code).toBe(1)
    expect(stdout + stderr).toMatch(/Cannot open \S+\/db|Cannot open the PostgreSQL database/)
    expect(stdout + stderr).not.toMatch(/canary|not foreseen/)
  }
})

describe('an "@" in the query of a URL is no end of a password', () => {
  test.each([
    'postgres://kora:canary@127.0.0.1:1/db?application_name=canary@prod',
    'postgres://kora:canary@127.0.0.1:1/db?sslmode=disable&tenant=canary@prod',
    'postgres://127.0.0.1:1/db?user=canary@myserver&password=canary@x',
    'postgres:///db?host=/nowhere&user=canary@myserver',
  ])('%s', async (url) => {
    using workspace = new Workspace()

    const { code, stdout, stderr } = await workspace.run(['check', '--print-config', '--db', url])

    expect(code).toBe(1) // nothing listens there
    expect(stdout).toMatch(/^store\.connectionString +postgres:\S*\/db +/m)
    expect(stdout + stderr).toMatch(/Cannot open \S+\/db|Cannot open the PostgreSQL database/)
    expect(stdout + stderr).not.toMatch(/canary|not foreseen/)
  })
})
