import { isDeepStrictEqual } from 'node:util'
import { expect } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { checkOperationId } from '../../../src/core/operation-id.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../operation-author.ts'
import { type SocketServer, startSocketServer, type TokenClaims } from '../socket-client.ts'
import { todoSchema } from '../todo-app.ts'

export const RECORDS = 60
const USERS = ['alice', 'bob', 'carol']
const READERS: readonly TokenClaims[] = [
  { userId: 'admin', scopes: null },
  { userId: 'alice', scopes: { todos: { userId: 'alice' } } },
]

/** A store with a history: scopes, moves between them, deleted records. */
export async function fill(store: ServerStore): Promise<void> {
  await store.setSchema(todoSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  const authors = USERS.map((user) => new OperationAuthor(`phone of ${user}`))
  for (let index = 0; index < RECORDS; index++) {
    const author = authors[index % USERS.length] as OperationAuthor
    const id = recordIdOf(`${index}`)
    const operations = [
      author.insert(id, {
        title: `title ${index} ${'text '.repeat(20)}`,
        tags: ['a'],
        userId: USERS[index % 3] ?? '',
      }),
      author.update(id, { done: true, tags: ['a', `${index}`] }),
      ...(index % 7 === 0 ? [author.update(id, { userId: 'alice' })] : []),
      ...(index % 11 === 0 ? [author.delete(id)] : []),
    ]
    await appendAll(store, operations)
  }
}

/** Everything that is served of a store: to clients through the protocol, and to whoever queries. */
export interface Served {
  /** Per reader the operations, in order, as text. */
  readonly operations: readonly (readonly string[])[]
  readonly records: string
  /** Something was refused because it is damaged. */
  readonly isReported: boolean
}

/** What the server says of what it cannot read. Anything else would be a mistake of its own. */
const REFUSALS: readonly unknown[] = ['STORE_CORRUPT', 'STORE_OPEN_FAILED', 'STORE_NEWER']

export function expectRefusal(error: unknown): void {
  expect(REFUSALS, String((error as Error).stack)).toContain((error as { code?: unknown }).code)
}

export async function serve(store: ServerStore): Promise<Served> {
  let isReported = false
  const operations: string[][] = []
  await using server = await startSocketServer({ store } as Parameters<typeof startSocketServer>[0])
  for (const claims of READERS) {
    const { texts, isCutOff } = await readAll(server, claims)
    operations.push(texts)
    isReported ||= isCutOff
  }
  const records = await store.queryCollection('todos', { includeDeleted: true }).catch((error: unknown) => {
    expectRefusal(error)
    isReported = true
    return []
  })
  return { operations, records: JSON.stringify(records), isReported }
}

async function readAll(server: SocketServer, claims: TokenClaims) {
  using client = await server.connect(`reader for ${claims.userId}`, claims)
  const texts = client
    .ofType('operation-batch')
    .flatMap((batch) => batch.operations.map((operation) => JSON.stringify(operation)))
  return { texts, isCutOff: client.isEnded }
}

export function isSameServed(served: Served, sound: Served): boolean {
  return isDeepStrictEqual(served.operations, sound.operations) && served.records === sound.records
}

/** An operation that nobody wrote so, or whose id no longer follows from it. */
export function hasServedWrong(served: Served, sound: Served, places: readonly string[]): boolean {
  return served.operations.some((texts, reader) => {
    const written = new Set(sound.operations[reader])
    return texts.some((text) => {
      const operation = JSON.parse(text) as Operation
      if (checkOperationId(operation) === 'mismatch') return true
      return !written.has(text) && !isSnapshotAnew(operation, { sound, reader, places })
    })
  })
}

/**
 * Where damage has given a tracked field another name, the server tracks the field anew, and shows records to whom
 * they belong a second time: as they are, and only if the damage is named.
 */
function isSnapshotAnew(
  { type, nodeId, recordId, data, previousData }: Operation,
  { sound, reader, places }: { sound: Served; reader: number; places: readonly string[] },
): boolean {
  if (!places.some((place) => place.endsWith(' of _kora_tracked'))) return false
  if (type === 'delete' || nodeId.startsWith('phone of ') || data === null) return false
  const records = JSON.parse(sound.records) as { readonly id: string; readonly [field: string]: unknown }[]
  const record = records.find(({ id, _deleted }) => id === recordId && _deleted !== true)
  const scope = READERS[reader]?.scopes?.todos ?? {}
  const told = { ...(type === 'insert' ? DEFAULTS : {}), ...previousData, ...data, ...scope }
  return Object.entries(told).every(([field, value]) => isDeepStrictEqual(record?.[field], value))
}

/** What fields have that nobody has written. */
const DEFAULTS = Object.fromEntries(
  Object.entries(todoSchema.collections.todos?.fields ?? {}).map(([field, { defaultValue = null }]) => [
    field,
    defaultValue,
  ]),
)
