import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import type { AuthContext } from '../../src/auth/provider.ts'
import type { Operation } from '../../src/core/operation.ts'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { STORES, type TestStore } from '../support/each-store.ts'
import { holdLock } from '../support/hold-lock.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { handshakeOf, pushed, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'
import { type UnyieldingClient, UnyieldingPoller, UnyieldingSocket } from '../support/unyielding-client.ts'

const EXPIRED = 4003
const REVOKED = 4012
/** Half of them over WebSockets, half of them polling. */
const DEVICES = sized(4, 12)
/** From the end of a token to that of its connection; more where other tests run beside. */
const CLOSE_MS = sized(2000, 1000)
/** What was on its way at that moment. */
const IN_FLIGHT_MS = sized(1000, 250)
const REVOKE_MS = 5000
const OPENED = { timeout: 10_000 }
const CLOSED = { timeout: 10_000 } // whether that was in time is asked afterwards
/** So long devices write before their tokens end. */
const WRITING_MS = sized(1500, 5000)
/** So often they try afterwards. */
const LATE_ROUNDS = sized(10, 25)

/** What is written at once beside them, every 50 ms, where the store is to be kept busy. */
const BUSY = 50

/** A token is the JSON of the context that it stands for. */
const auth = { authenticate: async (token: string) => JSON.parse(token) as AuthContext }

type Server = Awaited<ReturnType<typeof startSocketServer>>

async function connect(server: Server, nodeId: string, context: AuthContext, handshake = {}) {
  const client = await server.open()
  client.send(handshakeOf(nodeId, {}, { authToken: JSON.stringify(context), ...handshake }))
  await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
  return client
}

function batchOf(operations: readonly Operation[], number: number, parts: object = {}): object {
  const messageId = `msg-1-${number + 1}` // the handshake is the first message
  return { type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0, ...parts }
}

/** What came to a device, or got through from it, by the time at which it came, or was sent and stored. */
interface Passed {
  readonly storedOfAt: readonly number[]
  readonly storedAt: readonly number[]
  readonly toldAt: readonly number[]
}

/** A device that writes with a token, and goes on when that has expired. */
class Writer {
  readonly nodeId: string
  readonly client: UnyieldingClient
  readonly writtenAt = new Map<string, number>()
  readonly #author: OperationAuthor

  constructor(nodeId: string, client: UnyieldingClient) {
    this.nodeId = nodeId
    this.client = client
    this.#author = new OperationAuthor(nodeId)
  }

  write(number: number): void {
    const operation = this.#author.insert(recordIdOf(`${this.nodeId} ${number}`), { number })
    this.writtenAt.set(operation.id, Date.now())
    // The first batch is the delta, which tells how many batches it has.
    this.client.send(batchOf([operation], number, number === 1 ? { totalBatches: 1 } : {}))
  }

  get receivedIds(): string[] {
    return this.client.told.flatMap(({ message }) => idsOf(message))
  }

  /** As far as it would go on from. */
  get handshake(): { lastDeliverySequence: number; versionVector: { [nodeId: string]: number } } {
    const messages = this.client.told.map(({ message }) => message)
    const watermarks = messages.map((m) => (m.type === 'operation-batch' ? (m.maxDeliverySequence ?? 0) : 0))
    const acknowledged = messages.map((m) => (m.type === 'acknowledgment' ? m.lastSequenceNumber : 0))
    const versionVector = { [this.nodeId]: Math.max(...acknowledged) }
    return { lastDeliverySequence: Math.max(...watermarks), versionVector }
  }

  async passed(store: ServerStore, storedAt: ReadonlyMap<string, number>): Promise<Passed> {
    const stored = await store.getOperationRange(this.nodeId, 1, 10_000)
    const passes = ({ type }: SyncMessage): boolean => type === 'operation-batch' || type === 'acknowledgment'
    return {
      storedOfAt: stored.map(({ id }) => this.writtenAt.get(id) ?? Number.POSITIVE_INFINITY),
      storedAt: stored.map(({ id }) => storedAt.get(id) ?? Number.POSITIVE_INFINITY),
      toldAt: this.client.told.filter(({ message }) => passes(message)).map(({ at }) => at),
    }
  }
}

async function openWriter(server: Server, number: number, expiresAt: number): Promise<Writer> {
  const nodeId = `phone-${number}`
  const authToken = JSON.stringify({ userId: nodeId, expiresAt })
  const handshake = handshakeOf(nodeId, {}, { authToken, messageId: 'msg-1-1' })
  const client =
    number % 2 === 0 ? await UnyieldingSocket.open(server.url) : new UnyieldingPoller(server.url, authToken)
  client.send(handshake)
  if (client instanceof UnyieldingPoller) client.startPolling()
  await vi.waitUntil(() => client.told.some(({ message }) => message.type === 'operation-batch'), OPENED)
  return new Writer(nodeId, client)
}

function openWriters(server: Server, expiresAt: number, first = 0): Promise<Writer[]> {
  return Promise.all(Array.from({ length: DEVICES }, (_, i) => openWriter(server, first + i, expiresAt)))
}

/** How long it takes now, of devices that leave again; doubled, because a machine may get busier. */
async function msToOpenWriters(server: Server): Promise<number> {
  const startedAt = Date.now()
  const devices = await openWriters(server, startedAt + 60_000, DEVICES)
  for (const { client } of devices) client[Symbol.dispose]()
  return 2 * (Date.now() - startedAt)
}

function openStore(driver: string): Promise<TestStore> {
  const [, open] = STORES.find(([name]) => name === driver) ?? []
  if (open === undefined) throw new Error(`There is no store ${driver}`)
  return open()
}

function idsOf(message: SyncMessage): string[] {
  return message.type === 'operation-batch' ? (message.operations as Operation[]).map(({ id }) => id) : []
}

test.each([
  ['memory', 1],
  ['postgres', BUSY],
])(
  'nothing passes in either direction once a token has expired, and a fresh one goes on from there: %s, %d a write',
  async (driver, load) => {
    await using store = await openStore(driver)
    await using server = await startSocketServer({ store, auth, maxOpsPerMinute: 0 })
    const storedAt = new Map<string, number>()
    server.server.hub.observe((entries) => {
      for (const { operationId } of entries) storedAt.set(operationId, Date.now())
    })
    const author = new OperationAuthor('other')
    using other = await connect(server, 'other', { userId: 'bob' })
    const expiresAt = Date.now() + (await msToOpenWriters(server)) + WRITING_MS
    const devices = await openWriters(server, expiresAt)

    for (let number = 1, late = 0; late < LATE_ROUNDS; number++) {
      if (Date.now() > expiresAt + IN_FLIGHT_MS) late++
      for (const device of devices) device.write(number)
      const beside = Array.from({ length: load }, (_, i) =>
        author.insert(recordIdOf(`other ${number} ${i}`), { number }),
      )
      other.send(batchOf(beside, number))
      await sleep(50)
    }
    const closesOf = () =>
      devices.flatMap(({ client }) => (client instanceof UnyieldingSocket ? client.closes : []))
    await vi.waitUntil(() => closesOf().length >= DEVICES / 2, CLOSED)
    const passed = await Promise.all(devices.map((device) => device.passed(store, storedAt)))

    const closes = closesOf()
    const written = devices.flatMap(({ writtenAt }) => [...writtenAt.values()])
    const storedOf = passed.flatMap(({ storedOfAt }) => storedOfAt)
    const stored = passed.flatMap(({ storedAt }) => storedAt)
    const told = passed.flatMap(({ toldAt }) => toldAt)
    const tried = written.filter((at) => at > expiresAt + IN_FLIGHT_MS).length
    reportFigures(`expiry (${driver})`, {
      devices: DEVICES,
      'operations stored in all': storedAt.size,
      'ms late, the last close': Math.max(...closes.map(({ at }) => at)) - expiresAt,
      'operations sent later, none stored': tried,
      'ms late, the last operation that was stored': Math.max(...storedOf) - expiresAt,
      'ms late, the last time one was stored': Math.max(...stored) - expiresAt,
      'ms late, the last delivery or acknowledgment': Math.max(...told) - expiresAt,
    })
    expect(closes.map(({ code }) => code)).toEqual(Array(DEVICES / 2).fill(EXPIRED))
    expect(closes.filter(({ at }) => at > expiresAt + CLOSE_MS)).toEqual([])
    expect(tried).toBeGreaterThan(DEVICES)
    for (const { storedOfAt, toldAt } of passed) {
      expect(storedOfAt.filter((at) => at <= expiresAt).length).toBeGreaterThan(0)
      expect(toldAt.filter((at) => at <= expiresAt).length).toBeGreaterThan(0)
    }
    expect(storedOf.filter((at) => at > expiresAt + IN_FLIGHT_MS)).toEqual([])
    expect(stored.filter((at) => at > expiresAt + IN_FLIGHT_MS)).toEqual([])
    expect(told.filter((at) => at > expiresAt + IN_FLIGHT_MS)).toEqual([])
    for (const device of devices) {
      device.client[Symbol.dispose]()
      await expectToGoOn(server, store, device)
    }
  },
  timeoutMs(60_000),
)

/** With a fresh token it is told what it need not send again, and only what it has not been told. */
async function expectToGoOn(server: Server, store: ServerStore, device: Writer): Promise<void> {
  const { nodeId, handshake, receivedIds } = device
  const fresh = { userId: nodeId, expiresAt: Date.now() + 60_000 }
  using again = await connect(server, nodeId, fresh, handshake)
  const received = again.ofType('operation-batch').flatMap(idsOf)
  const stored = await store.getOperationRange(nodeId, 1, 10_000)

  expect(again.ofType('handshake-response')[0]?.versionVector[nodeId]).toBe(stored.length)
  expect(received.filter((id) => receivedIds.includes(id))).toEqual([])
  expect(received.length).toBeGreaterThan(0) // what the other wrote meanwhile
}

describe('what waits to be stored when its writer may not write any more is not stored', () => {
  const cases = [
    { why: 'its token has expired', lifetimeMs: 2000, closeCode: EXPIRED },
    { why: 'its user is revoked', lifetimeMs: 60_000, closeCode: REVOKED },
  ]
  test.each(cases)('$why', async ({ lifetimeMs, closeCode }) => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const postgres = await createPostgresServerStore({ connectionString })
    await using store = Object.assign(postgres, { [Symbol.asyncDispose]: () => postgres.close() })
    await using server = await startSocketServer({ store, auth })
    const { ingest } = server.server.hub
    const issuedAt = Date.now() - 1000
    using phone = await connect(server, 'phone', {
      userId: 'ada',
      issuedAt,
      expiresAt: Date.now() + lifetimeMs,
    })
    const author = new OperationAuthor('phone')
    const [written, ...waiting] = [1, 2, 3].map((n) => author.insert(recordIdOf(`${n}`), { n }))
    await using lock = await holdLock(database, '_kora_operations')

    for (const [index, operation] of [written, ...waiting].entries()) {
      const before = ingest.queuedBytes
      phone.send(batchOf([operation as Operation], index + 1))
      await vi.waitUntil(() => ingest.queuedBytes > before)
    }
    if (closeCode === REVOKED) await store.revoke({ kind: 'user', value: 'ada' }, Date.now())
    const { code } = await phone.ended
    await lock.release()
    await ingest.drain()

    expect(code).toBe(closeCode)
    expect(phone.ofType('acknowledgment')).toEqual([])
    expect(await store.getOperationRange('phone', 1, 3)).toEqual([written]) // of which the database was told before
    const fresh = { userId: 'ada', issuedAt: Date.now(), expiresAt: Date.now() + 60_000 }
    using again = await connect(server, 'phone', fresh)
    expect(again.ofType('handshake-response')[0]?.versionVector).toEqual({ phone: 1 })
    await pushed(again, waiting, 'again')
    expect(await store.getOperationRange('phone', 1, 3)).toEqual([written, ...waiting])
  })
})

test(
  'a revoked user is cut off on every server of the database, also on one that starts afterwards',
  async () => {
    await using database = await openTestDatabase()
    const { connectionString } = database
    const stores = await Promise.all([1, 2, 3].map(() => createPostgresServerStore({ connectionString })))
    const [one, two, late] = stores as [(typeof stores)[0], (typeof stores)[0], (typeof stores)[0]]
    const first = await startSocketServer({ store: one, auth })
    const second = await startSocketServer({ store: two, auth })
    const issuedAt = Date.now() - 1000
    const adas = [
      await connect(first, 'a1', { userId: 'ada', issuedAt }),
      await connect(second, 'a2', { userId: 'ada', issuedAt }),
    ]
    const bob = await connect(second, 'b', { userId: 'bob', issuedAt })

    const revokedAt = Date.now()
    await one.revoke({ kind: 'user', value: 'ada' }, revokedAt)
    const codes = (await Promise.all(adas.map(({ ended }) => ended))).map(({ code }) => code)
    const tookMs = Date.now() - revokedAt

    expect(codes).toEqual([REVOKED, REVOKED])
    expect(tookMs).toBeLessThanOrEqual(REVOKE_MS)
    expect(bob.isEnded).toBe(false)
    bob[Symbol.dispose]()
    await first[Symbol.asyncDispose]()
    await second[Symbol.asyncDispose]()
    const third = await startSocketServer({ store: late, auth })
    const thief = await third.open()
    thief.send(handshakeOf('a1', {}, { authToken: JSON.stringify({ userId: 'ada', issuedAt }) }))
    await thief.ended
    expect(thief.received).toMatchObject([{ type: 'error', code: 'AUTH_FAILED' }])
    reportFigures('revocation', { servers: 2, 'ms until all were cut off': tookMs })
    await third[Symbol.asyncDispose]()
    for (const store of stores) await store.close()
  },
  timeoutMs(60_000),
)
