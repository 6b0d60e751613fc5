import { afterAll, expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { rulesFor, runCompaction } from '../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { Administrator } from '../support/administrator.ts'
import { CANARY_NAME, CanaryFinder, canarySchema, OF_A, OF_B } from '../support/canary.ts'
import { CANARY_CLAIMS, CanaryTenant } from '../support/canary-tenant.ts'
import { describeEachStore } from '../support/each-store.ts'
import {
  type Attack,
  FOREIGN_CLAIMS,
  ForeignTenant,
  foundForeign,
  type Refusal,
  withoutIds,
} from '../support/foreign-tenant.ts'
import type { Forgery } from '../support/forgeries.ts'
import { appendAll, OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { startProductionServer } from '../support/production-server.ts'
import { pushed, randomOf, seedOf, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

/** On each of three stores. */
const ATTEMPTS = sized(5000, 50_000)
const BATCH = 250
/** Batches between two writes of the victim. */
const ROUND = 5
/** In each such round, attempts of one that polls, beside the others. */
const POLLED = 20

async function tablesOf(store: ServerStore): Promise<string> {
  const tables = await Promise.all(['todos', 'notes'].map((name) => store.materializeCollection(name)))
  return JSON.stringify(tables.flat().filter(({ tenant }) => tenant === 'a'))
}

/** Every attempt on a record of the victim is refused, in words that fit a record that nobody has, too. */
function expectRefused(
  { operation, mustBeRefused, twin }: Forgery,
  refusals: ReadonlyMap<string, Refusal>,
): void {
  const refusal = refusals.get(operation.id)
  if (!mustBeRefused) return
  if (refusal === undefined) expect.fail(`stored: ${JSON.stringify(operation)}`)
  if (twin === null) return
  const forTwin = refusals.get(twin.id)
  if (forTwin !== undefined) {
    expect(withoutIds(refusal, operation)).toBe(withoutIds(forTwin, twin))
  } else {
    // Within its own scope a free id is taken: that the other one is not free cannot be hidden.
    expect({ code: refusal.code, tenant: twin.data?.tenant }).toEqual({
      code: 'SCOPE_VIOLATION',
      tenant: 'b',
    })
  }
}

const totals = { attempts: 0, refusals: 0, 'compared with a record that nobody has': 0, leaks: 0 }
afterAll(() => reportFigures('cross-tenant', totals))

function count({ forgeries, refusals }: Attack): void {
  totals.attempts += forgeries.length
  totals.refusals += refusals.size
  totals['compared with a record that nobody has'] += forgeries.filter(({ twin }) => twin !== null).length
}

describeEachStore('a foreign tenant', (openStore) => {
  test(
    'changes nothing and learns nothing',
    async () => {
      const random = randomOf(seedOf('cross-tenant'))
      await using store = await openStore({ schema: canarySchema })
      const blobs = new Map<string, Uint8Array>()
      await using server = await startSocketServer({
        store,
        maxOpsPerMinute: 0,
        persistBlobChunk: async (name, bytes) => void blobs.set(name, bytes),
        resolveBlobChunk: async (name) => blobs.get(name) ?? null,
      })
      const victim = new CanaryTenant()
      using a = await server.connect('alice', CANARY_CLAIMS)
      await pushed(a, victim.operations, 'a')
      await victim.acts(a, 0)
      using administrator = await Administrator.connect(server, victim.traveller)
      const { recordId: travellerId } = victim.traveller
      await using foreigners = await ForeignTenant.connect(server, random)
      const finder = new CanaryFinder(victim.hidden.flatMap(({ id, recordId }) => [id, recordId]))
      const codes = new Set<string>()
      const expectRepelled = (attack: Attack): void => {
        count(attack)
        expect(attack.hasSurvived).toBe(true)
        for (const forgery of attack.forgeries) expectRefused(forgery, attack.refusals)
        for (const { code } of attack.refusals.values()) codes.add(code)
        expect(foreigners.takeLeaks(finder)).toEqual([])
      }
      const travels = async (round: number): Promise<void> => {
        await administrator.takesAway(round)
        await foreigners.hasReceived(travellerId, administrator.held)
        await administrator.bringsBack(round)
      }

      let before = await tablesOf(store)
      for (let batch = 0; batch < ATTEMPTS / BATCH; batch++) {
        expectRepelled(await foreigners.attack(victim, batch * BATCH, BATCH))
        if (batch % ROUND !== 0) continue
        expect(await tablesOf(store)).toBe(before)
        const polled = foreigners.attackByPolling(victim, ATTEMPTS + batch * POLLED, POLLED)
        await travels(1 + batch / ROUND)
        expectRepelled(await polled)
        await victim.acts(a, 1 + batch / ROUND)
        before = await tablesOf(store)
      }

      expect(await tablesOf(store)).toBe(before)
      expect([...codes].sort()).toEqual([
        'CONSTRAINT_VIOLATION',
        'ID_CONFLICT',
        'REFERENTIAL_INTEGRITY',
        'SCHEMA_VIOLATION',
        'SCOPE_VIOLATION',
      ])
      await foreigners.hasListened()
      expect(foreigners.takeLeaks(finder)).toEqual([])
      using late = await server.connect('mallory later', FOREIGN_CLAIMS)
      expect(foundForeign(late.texts)).not.toEqual([]) // its own tenant's records
      expect(finder.findIn(late.texts)).toEqual([])
      // Everything that is the victim's, and nothing else, comes to the victim, where canaries are seen.
      using again = await server.connect('fresh', CANARY_CLAIMS)
      const received = again.ofType('operation-batch').flatMap(({ operations }) => operations as Operation[])
      const ofOthers = (operations: readonly Operation[]): string[] =>
        operations.filter(({ recordId }) => recordId !== travellerId).map(({ id }) => id)
      expect(ofOthers(received).sort()).toEqual(ofOthers(victim.operations).sort())
      const brought = received.filter(({ recordId }) => recordId === travellerId)
      expect(Object.assign({}, ...brought.map(({ data }) => data))).toEqual(administrator.held)
      expect(finder.findIn(again.texts).length).toBeGreaterThan(0)
      expect(foundForeign([...a.texts, ...again.texts])).toEqual([])
    },
    timeoutMs(120_000),
  )

  test('is answered alike whether the record exists or not', async () => {
    await using store = await openStore({ schema: canarySchema })
    await using server = await startSocketServer({ store })
    const existing = new OperationAuthor('alice').insert(recordIdOf('a'), { ...OF_A, title: CANARY_NAME })
    using a = await server.connect('alice', CANARY_CLAIMS)
    await pushed(a, [existing], 'a')
    using b = await server.connect('mallory', FOREIGN_CLAIMS)
    const attempt = (recordId: string, data: FieldValues | null, type: Operation['type']): Operation =>
      withId({
        ...existing,
        nodeId: 'mallory',
        timestamp: { ...existing.timestamp, nodeId: 'mallory' },
        recordId,
        data,
        type,
      })

    for (const [type, data] of [
      ['insert', { ...OF_A, title: 'x' }],
      ['update', { title: 'x' }],
      ['update', { ...OF_A, title: 'x' }],
      ['delete', null],
    ] as const) {
      const pair = [existing.recordId, recordIdOf('nobody')].map((id) => attempt(id, data, type))
      b.received.length = 0
      await pushed(b, pair, type + JSON.stringify(data))

      const refusals = b.ofType('operation-rejected')
      expect(refusals.map(({ code }) => code)).toEqual(['SCOPE_VIOLATION', 'SCOPE_VIOLATION'])
      const [forExisting, forMissing] = refusals.map((refusal, i) =>
        withoutIds(refusal, pair[i] as Operation),
      )
      expect(forExisting).toBe(forMissing)
    }
  })

  test('learns from an insert under a foreign id that it is taken, and nothing else', async () => {
    await using store = await openStore({ schema: canarySchema })
    await using server = await startSocketServer({ store })
    const existing = new OperationAuthor('alice').insert(recordIdOf('a'), { ...OF_A, title: CANARY_NAME })
    using a = await server.connect('alice', CANARY_CLAIMS)
    await pushed(a, [existing], 'a')
    using b = await server.connect('mallory', FOREIGN_CLAIMS)
    const mallory = new OperationAuthor('mallory')
    const [taken, free, outside] = [
      mallory.insert(existing.recordId, { ...OF_B, title: 'x' }),
      mallory.insert(recordIdOf('free'), { ...OF_B, title: 'x' }),
      mallory.update(recordIdOf('nobody'), { title: 'x' }),
    ] as const
    await pushed(b, [taken, free, outside], 'b')

    const [forTaken, forOutside] = b.ofType('operation-rejected')
    expect(forTaken?.operationId).toBe(taken.id)
    expect(forOutside?.operationId).toBe(outside.id)
    expect(withoutIds(forTaken as Refusal, taken)).toBe(withoutIds(forOutside as Refusal, outside))
    expect(await store.findRecord('todos', existing.recordId)).toMatchObject({
      tenant: 'a',
      title: CANARY_NAME,
    })
    expect(new CanaryFinder([]).findIn(b.texts)).toEqual([])
  })

  test('learns of a forgotten record that it was there, and not when it was deleted', async () => {
    await using store = await openStore({ schema: canarySchema })
    await using server = await startSocketServer({ store })
    const author = new OperationAuthor('alice')
    const ids = ['early', 'late'].map(recordIdOf)
    const written = ids.flatMap((id) => [
      author.insert(id, { ...OF_A, title: CANARY_NAME }),
      author.delete(id),
    ])
    await appendAll(store, written)
    await appendAll(store, [author.insert(recordIdOf('last'), { ...OF_A, title: CANARY_NAME })])
    const rules = rulesFor({ keepForMs: 0, tombstonesMs: 1000 }, Date.now())
    await runCompaction(store, rules, { runtime: systemRuntime() })
    using b = await server.connect('mallory', FOREIGN_CLAIMS)
    const mallory = new OperationAuthor('mallory')
    const attempts = ids.map((id) => mallory.update(id, { ...OF_B, title: 'x' }))
    await pushed(b, attempts, 'b')

    const refusals = b.ofType('operation-rejected')
    expect(refusals.map(({ code }) => code)).toEqual(['RECORD_PURGED', 'RECORD_PURGED'])
    const [early, late] = refusals.map((refusal, i) => withoutIds(refusal, attempts[i] as Operation))
    expect(early).toBe(late)
    expect(refusals.filter(({ message }) => /\d{4}-\d\d-\d\d/.test(message))).toEqual([])
  })

  test('is shown nothing by what operators ask over HTTP', async () => {
    await using store = await openStore({ schema: canarySchema })
    const victim = new CanaryTenant()
    await appendAll(store, victim.operations)
    await using server = await startProductionServer({
      store,
      schema: canarySchema,
      operationalAuth: { adminToken: 'admin' },
      trustProxy: ['127.0.0.1'],
    })
    const recordId = victim.known[0]?.recordId
    const paths = [
      '/__kora/status',
      '/__kora/metrics',
      '/__kora/events',
      '/__kora/backup/export',
      '/__kora/api/overview',
      '/__kora/api/collections',
      '/__kora/api/sessions',
      '/__kora/api/refusals',
      `/__kora/api/records?collection=todos&where=${encodeURIComponent('{"tenant":"a"}')}`,
      `/__kora/api/record?collection=todos&id=${recordId}`,
    ]
    const finder = new CanaryFinder([])

    let shown = 0
    for (const path of paths) {
      const answer = await fetch(`${server.url}${path}`, { headers: { authorization: 'Bearer admin' } })
      expect(answer.status, path).toBe(200)
      if (path === '/__kora/events')
        await answer.body?.cancel() // it goes on
      else shown += finder.findIn([await answer.text()]).length
    }
    expect(shown).toBeGreaterThan(0) // canaries are seen where they are

    for (const [index, path] of paths.entries()) {
      // From an address for each path: who sends too many wrong tokens is not listened to.
      const from = { 'x-forwarded-for': `10.0.0.${index}` }
      for (const authorization of ['', `Bearer ${JSON.stringify(FOREIGN_CLAIMS)}`, 'Bearer Admin']) {
        const answer = await fetch(`${server.url}${path}`, { headers: { authorization, ...from } })
        expect(answer.status, path).toBe(401)
        expect(finder.findIn([await answer.text(), ...answer.headers.values()])).toEqual([])
      }
    }
  })
})
