import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { createBackup, createSqliteServerStore } from '../../src/index.ts'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { OperationAuthor } from '../support/operation-author.ts'
import { handshakeOf } from '../support/socket-client.ts'
import { todoSchema } from '../support/todo-app.ts'

const cwd = fileURLToPath(new URL('../..', import.meta.url))
const HELD_MS = 300
const CLIENTS = 300 // as many as two seconds are taken for
const WAIT = { timeout: 30_000, interval: 20 }

/** A program of an app that waits for nothing but one promise of the library. */
function startProgram(lines: string, given: object = {}) {
  const script = `
    import { writeSync } from 'node:fs'
    import * as kora from 'kora-server'
    const given = JSON.parse(process.argv[1])
    const say = (word) => writeSync(1, word + '\\n')
    ${lines}
    say('done')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, JSON.stringify(given)], {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  return {
    said: (word: string) => expect.poll(() => output, WAIT).toContain(word),
    ended: once(child, 'close').then(([code]) => ({ code, output })),
  }
}

const OPEN = 'const store = kora.createSqliteServerStore({ filename: given.filename })'
const SERVER = `
  const logger = { debug() {}, info() {}, warn() {}, error() {} }
  const server = kora.createProductionServer({ store, syncOptions: { logger } })`

const WRITES: readonly [string, string][] = [
  ['a write of the app', `${SERVER}; say('begins'); await server.kora.apply(given.mutation)`],
  ['an operation', "say('begins'); await store.applyRemoteOperation(given.operation)"],
  ['a change of the schema', "say('begins'); await store.setSchema(given.schema)"],
  [
    'a restore',
    "say('begins'); await kora.restoreBackup(store, [Buffer.from(given.backup, 'base64')], 'merge')",
  ],
]

test.each(WRITES)('a program waits for %s while another process writes to the file', async (_name, lines) => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  await prepareStore(filename)
  const other = new (loadSqliteDriver())(filename)
  other.exec('BEGIN IMMEDIATE')

  const program = startProgram(`${OPEN}; ${lines}`, { filename, ...(await inputsOf()) })
  await program.said('begins')
  await new Promise((resolve) => setTimeout(resolve, HELD_MS))
  other.exec('COMMIT')
  other.close()

  expect(await program.ended).toEqual({ code: 0, output: 'begins\ndone\n' })
})

async function prepareStore(filename: string): Promise<void> {
  const store = createSqliteServerStore({ filename })
  await store.setSchema(todoSchema)
  await store.close()
}

async function inputsOf(): Promise<object> {
  const source = createSqliteServerStore({ filename: ':memory:' })
  await source.setSchema(todoSchema)
  const operation = new OperationAuthor('author').insert('todo-1', { title: 'x', userId: 'ada' })
  await source.applyRemoteOperation(operation)
  const chunks: Uint8Array[] = []
  for await (const chunk of createBackup(source)) chunks.push(chunk)
  await source.close()
  return {
    operation,
    backup: Buffer.concat(chunks).toString('base64'),
    schema: { ...todoSchema, version: todoSchema.version + 1 },
    mutation: { type: 'insert', collection: 'todos', data: { title: 'y', userId: 'ada' } },
  }
}

const POLLING_CLIENTS = `
  const store = new kora.MemoryServerStore()
  const logger = { debug() {}, info() {}, warn() {}, error() {} }
  const auth = new kora.NoAuthProvider()
  const server = kora.createKoraServer({ store, auth, logger, port: 0, ...given.config, validateOperation })
  await server.start()
  const send = (clientId, message) => server.handleHttpRequest({
    clientId, method: 'POST', body: JSON.stringify(message), contentType: 'application/json' })
  for (const message of given.handshakes) await send(message.nodeId, message)
  `

const STOPS: readonly [string, object, string][] = [
  ['that is spread over clients that poll', { stopSpreadMs: 4000 }, 'undefined'],
  ['that waits for a validator of the app', { stopTimeoutMs: 200 }, '() => new Promise(() => {})'],
]

test.each(STOPS)('a program waits for a stop %s', async (_name, config, validateOperation) => {
  const handshakes = Array.from({ length: CLIENTS }, (_, index) => handshakeOf(`node-${index}`))
  const batch = {
    type: 'operation-batch',
    messageId: 'b',
    operations: [new OperationAuthor('node-0').insert('todo-1', { title: 'x' })],
    isFinal: true,
    batchIndex: 0,
  }
  const program = startProgram(
    `const validateOperation = ${validateOperation}
    ${POLLING_CLIENTS}
    await send('node-0', given.batch)
    say('stops')
    await server.stop()`,
    { config, handshakes, batch },
  )

  expect(await program.ended).toEqual({ code: 0, output: 'stops\ndone\n' })
})
