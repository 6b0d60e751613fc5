import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { runCli, temporaryDirectory } from '../support/daemon.ts'
import { schemaFile } from '../support/todo-app.ts'

const files = { 'schema.mjs': schemaFile() }

test('an unknown key of the configuration is named with the nearest one, all problems at once', async () => {
  const result = await runCli(['start'], {
    files: { 'kora.config.json': JSON.stringify({ prot: 4567, limits: { maxOpPerMinute: 10 } }) },
  })

  expect(result).toMatchObject({ code: 2, stdout: '' })
  expect(result.stderr).toContain('kora.config.json')
  expect(result.stderr).toMatch(/prot.*did you mean port/i)
  expect(result.stderr).toMatch(/limits\.maxOpPerMinute.*did you mean maxOpsPerMinute/i)
  expect(result.stderr).not.toMatch(/^\s+at /m)
})

test('a schema that breaks a rule is refused with the place', async () => {
  const broken = `export default { version: 0, collections: { todos: { fields: {} } } }`

  const result = await runCli(['start', '--schema', 'schema.mjs'], { files: { 'schema.mjs': broken } })

  expect(result).toMatchObject({ code: 2, stdout: '' })
  expect(result.stderr).toContain('version')
  expect(result.stderr).toContain('todos')
  expect(result.stderr).not.toMatch(/^\s+at /m)
})

test('a port in use is said to be in use', async () => {
  const blocker = createServer()
  await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
  const { port } = blocker.address() as { port: number }

  const result = await runCli(['start', '--host', '127.0.0.1', '--port', String(port)])
  blocker.close()

  expect(result.code).toBe(1)
  expect(result.stderr).toContain(`Port ${port}`)
  expect(result.stderr).toContain('in use')
})

test('a database file that cannot be opened is named with the reason', async () => {
  const result = await runCli(['start', '--port', '0', '--db', '/proc/kora-server.db'])

  expect(result.code).toBe(1)
  expect(result.stderr).toContain('/proc/kora-server.db')
})

test('an unknown collection and an unknown field are answered with the valid names', async () => {
  const directory = await temporaryDirectory()
  await runCli(['migrate', '--schema', 'schema.mjs'], { directory, files })

  const collection = await runCli(['query', 'todo', '--schema', 'schema.mjs'], { directory })
  const field = await runCli(['query', 'todos', '--where', 'titel=x', '--schema', 'schema.mjs'], {
    directory,
  })
  await rm(directory, { recursive: true, force: true })

  expect(collection).toMatchObject({ code: 2, stdout: '' })
  expect(collection.stderr).toContain('Did you mean "todos"?')
  expect(field).toMatchObject({ code: 2, stdout: '' })
  expect(field.stderr).toContain('Did you mean "title"?')
})

test('a command or flag that does not exist is the input of the user, with help', async () => {
  for (const args of [['strat'], ['start', '--prot', '1']]) {
    const result = await runCli(args)

    expect(result).toMatchObject({ code: 2, stdout: '' })
    expect(result.stderr).toMatch(/did you mean (start|--port)/i)
  }
})
