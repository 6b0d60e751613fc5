import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { AuthContext } from '../../src/auth/provider.ts'
import type { Operation } from '../../src/core/operation.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { handshakeOf, type SocketClient, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, timeoutMs } from '../support/trust.ts'

const EXPIRED = 4003
const REVOKED = 4012

/** A token is the JSON of the context that it stands for. */
const auth = { authenticate: async (token: string) => JSON.parse(token) as AuthContext }

type Server = Awaited<ReturnType<typeof startSocketServer>>

async function connect(server: Server, nodeId: string, context: AuthContext, handshake = {}) {
  const client = await server.open()
  client.send(handshakeOf(nodeId, {}, { authToken: JSON.stringify(context), ...handshake }))
  await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
  return client
}

function write(client: SocketClient, author: OperationAuthor, number: number): string {
  const operation = author.insert(recordIdOf(`${author.nodeId} ${number}`), { number })
  if (client.isEnded) return operation.id
  const batch = { type: 'operation-batch', operations: [operation], isFinal: true, batchIndex: 0 }
  client.send({ ...batch, messageId: `${number}` })
  return operation.id
}

function receivedIds(client: SocketClient): string[] {
  return client
    .ofType('operation-batch')
    .flatMap(({ operations }) => operations as Operation[])
    .map(({ id }) => id)
}

test(
  'nothing passes in either direction once a token has expired, and a fresh one goes on from there',
  async () => {
    const store = new MemoryServerStore()
    await using server = await startSocketServer({ store, auth, maxOpsPerMinute: 0 })
    const authors = { phone: new OperationAuthor('phone'), other: new OperationAuthor('other') }
    using other = await connect(server, 'other', { userId: 'bob' })
    const expiresAt = Date.now() + 1500
    const phone = await connect(server, 'phone', { userId: 'ada', expiresAt })
    let endedAt = 0
    void phone.ended.then(() => {
      endedAt = Date.now()
    })

    let number = 0
    const lateIds: string[] = []
    while (Date.now() < expiresAt + 1500) {
      const isLate = phone.isEnded
      const ids = [write(phone, authors.phone, ++number), write(other, authors.other, number)]
      if (isLate) lateIds.push(...ids)
      await sleep(50)
    }
    const { code } = await phone.ended
    const receivedBefore = receivedIds(phone)
    const acknowledged = phone.ofType('acknowledgment').length
    const watermark = Math.max(
      ...phone.ofType('operation-batch').map((batch) => batch.maxDeliverySequence ?? 0),
    )

    expect(code).toBe(EXPIRED)
    expect(endedAt - expiresAt).toBeLessThan(1000 + 2000) // a busy machine may be late
    expect(receivedBefore.filter((id) => lateIds.includes(id))).toEqual([])
    const stored = await store.getOperationRange('phone', 1, 10_000)
    expect(stored.length).toBeGreaterThan(0)
    expect(stored.map(({ id }) => id).filter((id) => lateIds.includes(id))).toEqual([])

    using again = await connect(
      server,
      'phone',
      { userId: 'ada', expiresAt: Date.now() + 60_000 },
      { lastDeliverySequence: watermark, versionVector: { phone: acknowledged } },
    )
    const told = again.ofType('handshake-response')[0]?.versionVector.phone
    const resent = receivedIds(again).filter((id) => receivedBefore.includes(id))

    expect(told).toBe(stored.length) // what it need not send again
    expect(resent).toEqual([])
    expect(receivedIds(again).length).toBeGreaterThan(0) // what the other wrote meanwhile
    reportFigures('expiry', {
      'ms late': endedAt - expiresAt,
      'operations after it': 0,
      'sent again': resent.length,
    })
  },
  timeoutMs(60_000),
)

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
