import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { MemoryTransport } from '../../support/memory-transport.ts'
import { OperationAuthor, recordIdOf, withId } from '../../support/operation-author.ts'
import { openRelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const SCOPES = { todos: { userId: 'u2' } }
const RECORD = recordIdOf('r1')

async function push(client: MemoryTransport, operations: readonly Operation[]): Promise<void> {
  client.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
  await settle()
}

async function openTodoServer(nodeId: string) {
  const store = new MemoryServerStore({ nodeId })
  await store.setSchema(todoSchema)
  return openRelayServer({ store })
}

/** What a device was given by a server that is lost, of a record that came into its scope. */
async function gainedSnapshot(): Promise<Operation[]> {
  const { connect } = await openTodoServer('lost-server')
  const author = new OperationAuthor('laptop')
  const laptop = await connect('laptop')
  const phone = await connect('phone', { scopes: SCOPES })
  await push(laptop, [
    author.insert(RECORD, { title: 'x', userId: 'u1' }),
    author.update(RECORD, { userId: 'u2' }),
  ])
  return phone.sentOfType('operation-batch').flatMap(({ operations }) => operations)
}

test('the snapshot that a device was given by a lost server is taken from it, and again at its next handshake', async () => {
  const snapshot = await gainedSnapshot()
  const { connect, store } = await openTodoServer('server')

  for (const _ of ['first', 'second']) {
    const phone = await connect('phone', { scopes: SCOPES })
    await push(phone, snapshot)
    expect(phone.sentOfType('operation-rejected')).toEqual([])
    expect(phone.sentOfType('acknowledgment')).toHaveLength(1)
  }

  expect(snapshot.map(({ nodeId, timestamp }) => [nodeId, timestamp.nodeId])).toEqual(
    snapshot.map(() => ['lost-server', 'laptop']),
  )
  expect(await store.materializeCollection('todos')).toMatchObject([{ id: RECORD, title: 'x', userId: 'u2' }])
  expect(await store.getOperationCount()).toBe(snapshot.length)
})

test.each<[string, (part: Operation) => Operation]>([
  ['an id that is not its own', (part) => ({ ...part, data: { ...part.data, title: 'forged' } })],
  ['the node of its sender', (part) => withId({ ...part, nodeId: 'phone' })],
  ['causes', (part) => ({ ...part, causalDeps: [part.id] })],
  ['atomic changes', (part) => withId({ ...part, atomicOps: { n: { type: 'max', value: 1 } } })],
])('what has the clock of another node and %s is no snapshot, and refused by name', async (_, forge) => {
  const [part] = (await gainedSnapshot()) as [Operation]
  const { connect, store } = await openTodoServer('server')
  const phone = await connect('phone', { scopes: SCOPES })

  await push(phone, [forge(part)])

  expect(phone.sentOfType('operation-rejected')).toMatchObject([
    { code: 'INVALID_OPERATION', message: 'timestamp.nodeId must equal nodeId, not "laptop".' },
  ])
  expect(await store.getOperationCount()).toBe(0)
})

test('a part of a snapshot that came without fields is a duplicate where the record is whole', async () => {
  const snapshot = await gainedSnapshot()
  const { connect, store } = await openTodoServer('server')
  const tablet = await connect('tablet', { scopes: SCOPES })
  await push(tablet, snapshot)
  const phone = await connect('phone', { scopes: SCOPES })

  await push(
    phone,
    snapshot.map((part) => ({ ...part, data: { userId: 'u2' } })),
  )

  expect(phone.sentOfType('operation-rejected')).toEqual([])
  expect(await store.materializeCollection('todos')).toMatchObject([{ title: 'x' }])
})
