import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { operationToWireJson } from '../../../src/protocol/parse-operation.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { FieldNames, withoutUnknownFields } from '../../../src/sync/delivery/known-fields.ts'
import type { MemoryTransport } from '../../support/memory-transport.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { openRelayServer, type RelayClient } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { operation, operations } from '../../support/wire-operations.ts'

const WAIT = { timeout: 30_000, interval: 20 }

describe('withoutUnknownFields', () => {
  const fields = new FieldNames(['title', 'done', 'tags'])
  const read = (changes: Partial<Operation>) =>
    JSON.parse(withoutUnknownFields(operationToWireJson(operation(changes)), fields)) as Operation

  test('leaves out of data, previousData and atomicOps what is not among the fields', () => {
    const changed = read({
      data: { color: 'red', title: 'milk', size: { a: [1] } },
      previousData: { title: 'tea', color: null },
      atomicOps: { tags: { type: 'append', value: 'x' }, size: { type: 'increment', value: 1 } },
      transactionId: 'tx',
    })

    expect(changed).toEqual(
      operation({
        data: { title: 'milk' },
        previousData: { title: 'tea' },
        atomicOps: { tags: { type: 'append', value: 'x' } },
        transactionId: 'tx',
      }),
    )
  })

  test('leaves an operation without any field', () => {
    expect(read({ data: { color: 'red' }, atomicOps: { color: { type: 'max', value: 1 } } })).toEqual(
      operation({ data: {} }),
    )
  })

  const whole: { [name: string]: Partial<Operation> } = {
    'plain values': { data: { title: '', done: true }, previousData: { title: 'a, {b} [c]', done: null } },
    'texts with quotes and backslashes': { data: { title: 'say "x":1,', tags: ['\\'], done: 'ends in \\' } },
    'a text of several lines': { data: { title: 'one\ntwo' } },
    'a name of an unknown field in a value': { data: { tags: [{ color: 1 }], title: '","color":1' } },
    'a deletion': { type: 'delete', data: null, previousData: null },
    'an encrypted payload': { data: { __kora_e2e_encrypted: true, ciphertext: 'x' } },
  }
  test.each(Object.entries(whole))('returns the same text for %s', (_, changes) => {
    const wireJson = operationToWireJson(operation(changes))

    expect(withoutUnknownFields(wireJson, fields)).toBe(wireJson)
  })

  const misleading: { [name: string]: Partial<Operation> } = {
    'a node that is named like a property': { nodeId: ',"data":{"title":1}', data: { color: 1 } },
    'a field that is named like the end of data': { data: { '},"previousData":null': 1 } },
    'a field whose name begins with a known one': { data: { 'title":1,"': 1 } },
    'a value that looks like the end of data': { data: { title: '"},"previousData":null', color: 1 } },
    'the schema version that it names': { data: { title: 'x', color: 1 }, schemaVersion: 1 },
    'a field of previousData alone': { previousData: { color: 1 } },
    'an atomic operation alone': { atomicOps: { color: { type: 'max', value: 1 } } },
  }
  test.each(Object.entries(misleading))('is not misled by %s', (_, changes) => {
    const { data, previousData, atomicOps } = read(changes)
    const left = [data, previousData, atomicOps].flatMap((values) => Object.keys(values ?? {}))

    expect(left.filter((field) => !fields.has(field))).toEqual([])
  })

  test.each([
    ['a name begins another', ['a', 'ab', 'abc']],
    ['there are very many', Array.from({ length: 1500 }, (_, n) => `field${n}`)],
    ['there are none', []],
  ])('takes out what is not known where %s', (_, names) => {
    const made = operation({
      data: { ...Object.fromEntries(names.map((name) => [name, 1])), abcd: 2, '': 3 },
    })
    const kept = JSON.parse(
      withoutUnknownFields(operationToWireJson(made), new FieldNames(names)),
    ) as Operation

    expect(Object.keys(kept.data ?? {})).toEqual(names)
  })

  test('takes out what stands behind a long text', () => {
    const title = `${'"\\'.repeat(50_000)}${'x'.repeat(100_000)}`

    expect(read({ data: { title, color: 1 } }).data).toEqual({ title })
    expect(read({ data: { title: 'x'.repeat(250_000), color: 1 } }).data).toEqual({
      title: 'x'.repeat(250_000),
    })
  })

  test('keeps exactly the known fields of any operation, and everything else as it was', () => {
    const names = ({ data, previousData, atomicOps }: Operation) =>
      [data, previousData, atomicOps].flatMap((values) => Object.keys(values ?? {}))
    fc.assert(
      fc.property(operations, fc.array(fc.boolean(), { minLength: 15, maxLength: 15 }), (made, isKnown) => {
        const known = new Set(names(made).filter((_, index) => isKnown[index]))
        const pick = <Values extends object>(values: Values) =>
          Object.fromEntries(Object.entries(values).filter(([field]) => known.has(field)))
        const { atomicOps, ...rest } = made
        const atomics = pick(atomicOps ?? {})

        const fieldNames = new FieldNames([...known])
        expect(JSON.parse(withoutUnknownFields(operationToWireJson(made), fieldNames))).toEqual({
          ...rest,
          data: made.data && pick(made.data),
          previousData: made.previousData && pick(made.previousData),
          ...(Object.keys(atomics).length > 0 && { atomicOps: atomics }),
        })
      }),
      { numRuns: 300 },
    )
  })
})

describe('a session', () => {
  const title = t.string().optional()
  const first = defineSchema({ version: 1, collections: { todos: { fields: { title } } } })
  const second = defineSchema({ version: 2, collections: { todos: { fields: { title, color: title } } } })
  const RED: FieldValues = { title: 'x', color: 'red', shape: 'round' }

  async function openServer() {
    const store = new MemoryServerStore({ nodeId: 'server' })
    await store.setSchema(first)
    await store.setSchema(second)
    return openRelayServer({ store, schemaVersion: 2, supportedSchemaVersions: { min: 1, max: 99 } })
  }

  function received(client: MemoryTransport): (FieldValues | null)[] {
    const batches = client.sentOfType('operation-batch')
    return batches.flatMap(({ operations: sent }) => sent.map((made) => (made as Operation).data))
  }

  async function push(writer: MemoryTransport, made: readonly Operation[]): Promise<void> {
    const message = { type: 'operation-batch', messageId: 'b', isFinal: true, batchIndex: 0 }
    writer.receive({ ...message, operations: made })
    await settle()
    expect(writer.sentOfType('operation-rejected')).toEqual([])
  }

  test.each([
    ['of the version of the server', 2, { title: 'x', color: 'red' }],
    ['of an earlier version', 1, { title: 'x' }],
    ['of a version that the server does not know', 99, RED],
  ])('%s gets the fields that it knows, live and from the log', async (_, schemaVersion, expected) => {
    const { connect } = await openServer()
    const writer = await connect('writer', { handshake: { schemaVersion: 99 } })
    const live = await connect('live', { handshake: { schemaVersion } })
    const legacy = await connect('legacy', { isLegacy: true, handshake: { schemaVersion } })

    await push(writer, [new OperationAuthor('writer').insert(recordIdOf('a'), RED, { schemaVersion: 99 })])
    const late = await connect('late', { handshake: { schemaVersion } })
    const lateLegacy = await connect('late legacy', { isLegacy: true, handshake: { schemaVersion } })

    for (const client of [live, legacy, late, lateLegacy]) expect(received(client)).toEqual([expected])
  })

  test('gets the fields that it knows from when the store learns of its version, also where that is taken back', async () => {
    const { connect, store } = await openServer()
    const writer = await connect('writer', { handshake: { schemaVersion: 99 } })
    const readers = [
      await connect('reader', { handshake: { schemaVersion: 3 } }),
      await connect('legacy', { isLegacy: true, handshake: { schemaVersion: 3 } }),
    ]

    await store.setSchema({ ...first, version: 3 })
    await store.setSchema(second)
    await push(writer, [new OperationAuthor('writer').insert(recordIdOf('a'), RED, { schemaVersion: 99 })])

    for (const reader of readers) expect(received(reader)).toEqual([{ title: 'x' }])
  })

  test.each(['sets it', 'has set it and taken it back'])(
    'on a PostgreSQL server of an earlier version gets the fields that it knows once another server %s',
    async (what) => {
      await using database = await openTestDatabase()
      const { connectionString } = database
      const store = await createPostgresServerStore({ connectionString, pollIntervalMs: 20 })
      const other = await createPostgresServerStore({ connectionString })
      await store.setSchema(second)
      const supportedSchemaVersions = { min: 1, max: 99 }
      const { connect, server } = openRelayServer({ store, schemaVersion: 2, supportedSchemaVersions })
      const clients = new Map<string, RelayClient>()
      const open = async (nodeId: string, schemaVersion: number, isLegacy: boolean) => {
        const client = await connect(nodeId, { isLegacy, handshake: { schemaVersion } })
        clients.set(nodeId, client)
        await expect.poll(() => client.sentOfType('operation-batch').length, WAIT).toBeGreaterThan(0)
      }
      await open('before', 3, false)
      await open('before, legacy', 3, true)
      await open('unknown', 99, false)

      await other.setSchema({ ...first, version: 3 })
      if (what !== 'sets it') await other.setSchema(second)
      await store.append([requestOf(new OperationAuthor('writer').insert(recordIdOf('a'), RED))])
      await open('after', 3, false)

      const shown = (client: RelayClient) => received(client).filter((data) => data !== null)
      for (const [nodeId, client] of clients) {
        const expected = nodeId === 'unknown' ? RED : { title: 'x' }
        await expect.poll(() => shown(client), WAIT).toEqual([expected])
      }
      await server.stop()
      await Promise.all([store, other].map((one) => one.close()))
    },
    60_000,
  )

  test('of one version is not sent the frame of another', async () => {
    const { connect } = await openServer()
    const writer = await connect('writer', { handshake: { schemaVersion: 99 } })
    const versions = [99, 2, 1, 99, 2, 1]
    const clients = await Promise.all(
      versions.map((schemaVersion, index) => connect(`reader ${index}`, { handshake: { schemaVersion } })),
    )

    await push(writer, [new OperationAuthor('writer').insert(recordIdOf('a'), RED, { schemaVersion: 99 })])

    const two = { title: 'x', color: 'red' }
    expect(clients.flatMap(received)).toEqual([RED, two, { title: 'x' }, RED, two, { title: 'x' }])
  })

  test('is sent an operation of which it knows no field, so that its watermark moves', async () => {
    const { connect } = await openServer()
    const writer = await connect('writer', { handshake: { schemaVersion: 99 } })
    const reader = await connect('reader', { handshake: { schemaVersion: 2 } })
    const author = new OperationAuthor('writer')
    const insert = author.insert(recordIdOf('a'), { shape: 'round' }, { schemaVersion: 99 })
    const foreign = author.insert(recordIdOf('b'), RED, { collection: 'others', schemaVersion: 99 })

    await push(writer, [insert, foreign])

    expect(received(reader)).toEqual([{}, RED])
    expect(reader.sentOfType('operation-batch').at(-1)?.maxDeliverySequence).toBe(2)
  })

  test('does not trust the version that an operation names', async () => {
    const { connect } = await openServer()
    const writer = await connect('writer', { handshake: { schemaVersion: 1 } })
    const reader = await connect('reader', { handshake: { schemaVersion: 1 } })

    await push(writer, [new OperationAuthor('writer').insert(recordIdOf('a'), RED, { schemaVersion: 1 })])

    expect(received(reader)).toEqual([{ title: 'x' }])
  })
})
