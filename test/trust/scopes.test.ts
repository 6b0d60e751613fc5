import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { resolveScopes } from '../../src/auth/scope-templates.ts'
import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import type { FieldValues, JsonValue, Operation } from '../../src/core/operation.ts'
import type { QuerySubset, ScopeMap } from '../../src/core/scope.ts'
import { isVisible, type ScopeChanges, scopeKeyOf } from '../../src/core/view.ts'
import { authorizeClient } from '../../src/sync/authorization.ts'
import { grantView } from '../../src/sync/handshake/grant.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import {
  randomOf,
  type SocketClient,
  type SocketServer,
  seedOf,
  startSocketServer,
} from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

/*
 * What is granted is decided here once more, in as few words as possible and without the server's code:
 * a record is granted when its collection is named and each value that is asked for is there.
 */
function isGranted(scopes: ScopeMap | null, collection: string, values: FieldValues): boolean {
  if (scopes === null) return true
  const filter = new Map(Object.entries(scopes)).get(collection)
  const held = new Map(Object.entries(values))
  return (
    filter !== undefined &&
    Object.entries(filter).every(
      ([field, wanted]) =>
        held.has(field) && held.get(field) === wanted && (wanted === null || typeof wanted !== 'object'),
    )
  )
}

// ── without a server ─────────────────────────────────────────────────────────────────────────

const PURE_PAIRS = 100_000
const NAMES = ['todos', 'notes', 'tenant', 'constructor', 'toString', '__proto__', 'hasOwnProperty'] as const
const CLAIMS = [
  '$claims.sub',
  '$claims.missing',
  '$claims.org.id',
  '$claims.__proto__',
  '$claims.list',
] as const
const HELD_CLAIMS = { sub: 'a', org: { id: 'b' }, list: ['a'], nothing: null }

// Mostly the first few, so that grants, wishes and records meet.
const name = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('todos', 'tenant') },
  { weight: 2, arbitrary: fc.constantFrom(...NAMES) },
)
const scalar = fc.constantFrom<JsonValue>('a', 'b', '', 1, '1', 0, true, null)
const anyValue = fc.oneof(
  { weight: 6, arbitrary: scalar },
  { weight: 1, arbitrary: fc.constantFrom<JsonValue>(['a'], [], {}, { a: 1 }) },
)

function dictionaryOf<T>(values: fc.Arbitrary<T>): fc.Arbitrary<{ readonly [key: string]: T }> {
  return fc.array(fc.tuple(name, values), { maxLength: 3 }).map((entries) => Object.fromEntries(entries))
}

const filter = dictionaryOf(anyValue)
const scopeMap: fc.Arbitrary<ScopeMap> = dictionaryOf(filter)
const subset: fc.Arbitrary<QuerySubset> = fc.record({ collection: name, where: filter })

/** What an authentication grants and what a client asks for, and a record that may be seen or not. */
const pair = fc.record({
  scopes: fc.option(scopeMap),
  syncScope: fc.option(scopeMap, { nil: undefined }),
  syncQueries: fc.option(fc.array(subset, { maxLength: 3 }), { nil: undefined }),
  collection: name,
  values: filter,
  /** Whether the record is made to fit what is granted, and what is asked for: few would by chance. */
  fitsGrant: fc.boolean(),
  fitsWish: fc.boolean(),
  trackedFields: fc.subarray([...NAMES]),
})
type Pair = typeof pair extends fc.Arbitrary<infer Value> ? Value : never

function recordOf({ scopes, syncScope, collection, values, fitsGrant, fitsWish }: Pair): FieldValues {
  const fitting = (scope: ScopeMap | null | undefined, fits: boolean): FieldValues =>
    fits ? (new Map(Object.entries(scope ?? {})).get(collection) ?? {}) : {}
  return { ...values, ...fitting(syncScope, fitsWish), ...fitting(scopes, fitsGrant) }
}

function changesOf(values: FieldValues): ScopeChanges {
  return Object.entries(values).map(([field, value]) => ({ field, after: scopeKeyOf(value) }))
}

const NODE = { nodeId: 'phone', userId: 'u', scopeEra: null, legacyPosition: 0 }

test(
  'whatever a client asks for, it sees and writes nothing that is not granted',
  async () => {
    const seed = seedOf('scopes, without a server')
    let shown = 0
    await fc.assert(
      fc.asyncProperty(pair, async (given) => {
        const { scopes, syncScope, syncQueries, collection } = given
        const auth = { userId: 'u', ...(scopes !== null && { scopes }) }
        const wish = { ...(syncScope && { syncScope }), ...(syncQueries && { syncQueries }) }
        const store = {
          getNodeId: () => 'server',
          getFormerNodeIds: () => new Set<string>(),
          readNodes: async () => new Map(),
          // The store tracks what is granted; whether also what is wished for is its own affair.
          trackScopeField: async (_collection: string, field: string | null) =>
            field === null || given.trackedFields.some((tracked) => tracked === field),
        }
        const { view } = await grantView(auth, wish, { store, isOpen: false })
        const access = authorizeClient({ auth, view, node: NODE }, { store, isOpen: false })
        const values = recordOf(given)
        const granted = isGranted(scopes, collection, values)

        const isSeen = access.sees(collection, values)
        if (isSeen) shown++
        const entry = { kind: 'operation', collection, scopeChanges: changesOf(values) } as const
        if (!granted && isSeen) throw new Error('It is seen.')
        if (!granted && isVisible(entry, view)) throw new Error('Its insert is delivered.')
        if (access.mayWrite(collection, values) !== granted)
          throw new Error('Writing is not what is granted.')
      }),
      { numRuns: PURE_PAIRS, seed },
    )
    expect(shown).toBeGreaterThan(PURE_PAIRS / 20) // or little was put to the test
    reportFigures('scopes, without a server', { pairs: PURE_PAIRS, 'records seen': shown, exceeded: 0, seed })
  },
  timeoutMs(60_000),
)

test('a claim that is missing, or is no single value, hides the collection', async () => {
  const template = dictionaryOf(dictionaryOf(fc.oneof(scalar, fc.constantFrom<JsonValue>(...CLAIMS))))
  await fc.assert(
    fc.asyncProperty(template, filter, name, async (source, values, collection) => {
      const scopes = await resolveScopes(source, HELD_CLAIMS)
      const wanted = new Map(Object.entries(source)).get(collection)
      const claims = new Map<JsonValue, JsonValue>([
        ['$claims.sub', 'a'],
        ['$claims.org.id', 'b'],
      ])
      const isHidden =
        wanted === undefined || Object.values(wanted).some((value) => isMissingClaim(value, claims))
      expect(Object.hasOwn(scopes, collection)).toBe(!isHidden)
      if (isHidden) return
      const filled = Object.entries(wanted).map(([field, value]) => [field, claims.get(value) ?? value])
      expect(isGranted(scopes, collection, values)).toBe(
        isGranted({ [collection]: Object.fromEntries(filled) }, collection, values),
      )
    }),
    { numRuns: sized(2000, 20_000) },
  )
})

function isMissingClaim(value: JsonValue, claims: ReadonlyMap<JsonValue, JsonValue>): boolean {
  return typeof value === 'string' && value.startsWith('$') && !claims.has(value)
}

// ── over sockets ─────────────────────────────────────────────────────────────────────────────

const PAIRS = sized(170, 500) // on each of three stores
const COLLECTIONS = ['todos', 'notes', 'toString', 'hasOwnProperty']
const FIELDS = ['tenant', 'owner', 'valueOf', 'n']
const VALUES: readonly JsonValue[] = ['a', 'b', '', 1, 0, true, null]
const WRONG: readonly JsonValue[] = [['a'], {}, { tenant: 'a' }, []]
/** What an application may return as scopes by mistake: nobody is let in by it, least of all to everything. */
const NO_SCOPES: readonly JsonValue[] = [null, [], '', 'todos', true, { todos: null }, { todos: ['tenant'] }]

function pick<Item>(items: readonly Item[], random: () => number): Item {
  return items[Math.floor(random() * items.length)] as Item
}

function randomFilter(values: readonly JsonValue[], random: () => number): Record<string, JsonValue> {
  const count = Math.floor(random() * 3)
  return Object.fromEntries(Array.from({ length: count }, () => [pick(FIELDS, random), pick(values, random)]))
}

function randomScope(values: readonly JsonValue[], random: () => number): ScopeMap {
  const count = Math.floor(random() * 4)
  return Object.fromEntries(
    Array.from({ length: count }, () => [pick(COLLECTIONS, random), randomFilter(values, random)]),
  )
}

/** As a token carries them: null is no scope map, and an absent one grants everything. */
function randomClaims(random: () => number): { readonly scopes?: JsonValue } {
  if (random() < 0.1) return { scopes: pick(NO_SCOPES, random) }
  if (random() < 0.1) return {}
  return { scopes: randomScope(random() < 0.2 ? [...VALUES, ...WRONG] : VALUES, random) }
}

const RECORDS = 120
const UPDATES = 160
const WATCHERS = 12
/** Every other value is the first, or few records would come and go that are scoped by two fields. */
const HELD = [...VALUES, ...VALUES.map(() => 'a')]
/** Granted to every watcher: whoever has it has been sent all before it. */
const LAST = 'last'

/** An operation, and its record before and after it. */
interface Step {
  readonly operation: Operation
  /** null: there was none. */
  readonly before: FieldValues | null
  readonly after: FieldValues
}

/** Inserts, then updates, of which many move their record between scopes. */
function randomSteps(random: () => number): Step[] {
  const author = new OperationAuthor('author')
  const latest = Array.from({ length: RECORDS }, (_, i): Step => {
    const data = Object.fromEntries(
      FIELDS.filter(() => random() < 0.8).map((field) => [field, pick(HELD, random)]),
    )
    const operation = author.insert(recordIdOf(`${i}`), data, { collection: pick(COLLECTIONS, random) })
    return { operation, before: null, after: data }
  })
  const steps = [...latest]
  for (let count = 0; count < UPDATES; count++) {
    const index = Math.floor(random() * RECORDS)
    const { operation, after: before } = latest[index] as Step // the index is below their number
    const { recordId, collection } = operation
    const change = { [pick(FIELDS, random)]: pick(HELD, random) }
    const update = author.update(recordId, change, { collection })
    latest[index] = { operation: update, before, after: { ...before, ...change } }
    steps.push(latest[index])
  }
  return steps
}

/** True when the operation itself may be sent: to nobody who did not see its record before, nor who does not any more. */
function isDue({ operation, before, after }: Step, scopes: ScopeMap | null): boolean {
  const isShown = (values: FieldValues | null) =>
    values === null || isGranted(scopes, operation.collection, values)
  return isShown(before) && isShown(after)
}

/** Whoever comes to see a record gets it as it was by then, by operations of the server's own. */
function mayBeToldOf(
  { recordId, data }: Operation,
  steps: readonly Step[],
  scopes: ScopeMap | null,
): boolean {
  return steps.some(
    ({ operation, after }) =>
      operation.recordId === recordId &&
      isGranted(scopes, operation.collection, after) &&
      Object.entries(data ?? {}).every(([field, value]) => after[field] === value),
  )
}

function expectNothingElse(got: readonly Operation[], steps: readonly Step[], scopes: ScopeMap | null): void {
  const byId = new Map(steps.map((step) => [step.operation.id, step]))
  for (const operation of got) {
    const step = byId.get(operation.id)
    const mayBeSent = step === undefined ? mayBeToldOf(operation, steps, scopes) : isDue(step, scopes)
    if (!mayBeSent) expect.fail(JSON.stringify({ scopes, operation, step }))
  }
}

/** What was asked for is all that is granted: so it is all there, and each record is as it is. */
function expectAll(got: readonly Operation[], steps: readonly Step[], scopes: ScopeMap | null): void {
  const ids = new Set(steps.map(({ operation }) => operation.id))
  const due = steps.filter((step) => isDue(step, scopes))
  expect(got.map(({ id }) => id).filter((id) => ids.has(id))).toEqual(
    due.map(({ operation }) => operation.id),
  )

  const held = new Map<string, FieldValues>()
  for (const { recordId, data } of got) held.set(recordId, { ...held.get(recordId), ...data })
  const latest = new Map(steps.map((step) => [step.operation.recordId, step]))
  for (const [recordId, { operation, after }] of latest) {
    if (isGranted(scopes, operation.collection, after)) expect(held.get(recordId)).toEqual(after)
  }
}

function operationsOf(client: SocketClient): Operation[] {
  return client.ofType('operation-batch').flatMap((batch) => batch.operations as Operation[])
}

const totals = {
  pairs: 0,
  'watchers of updates': 0,
  'operations received': 0,
  'handshakes refused': 0,
  exceeded: 0,
}
afterAll(() => reportFigures('scopes, over sockets', totals))

describeEachStore('scopes', (openStore) => {
  test(
    'what a client asks for never widens what it is granted',
    async () => {
      const random = randomOf(seedOf('scopes'))
      await using store = await openStore()
      for (const collection of COLLECTIONS) {
        for (const field of FIELDS) await store.trackScopeField(collection, field) // as a start does, by its schema
      }
      const steps = randomSteps(random)
      const validate = async (token: string) => JSON.parse(token) // what an application returns may be anything
      await using server = await startSocketServer({ store, auth: new TokenAuthProvider({ validate }) })
      const operations = steps.map(({ operation }) => operation)
      await appendAll(store, operations.slice(0, RECORDS))
      const last = new OperationAuthor('last').insert(recordIdOf(LAST), {}, { collection: LAST })
      const update = () => appendAll(store, [...operations.slice(RECORDS), last])
      await watchUpdates(server, steps, { random, update })

      for (let count = 0; count < PAIRS; count++) {
        const claims = randomClaims(random)
        const isRefusal = claims.scopes !== undefined && NO_SCOPES.includes(claims.scopes)
        // The test above has found out that no other scopes are there.
        const scopes = claims.scopes === undefined || isRefusal ? null : (claims.scopes as ScopeMap)
        const wishes = [...VALUES, ...WRONG]
        const subsets = Array.from({ length: Math.floor(random() * 3) }, () => ({
          collection: pick(random() < 0.05 ? ['__proto__'] : COLLECTIONS, random),
          where: randomFilter(wishes, random),
        }))
        const syncScope = pick([undefined, {}, scopes ?? {}, randomScope(wishes, random)], random)
        using client = await server.connect(
          `phone${count}`,
          {},
          {
            authToken: JSON.stringify({ userId: `u${count}`, ...claims }),
            ...(syncScope && { syncScope }),
            ...(subsets.length > 0 && { syncQueries: subsets }),
          },
        )
        totals.pairs++
        const got = operationsOf(client).filter(({ collection }) => collection !== LAST)
        if (isRefusal) expect(client.isEnded && got.length === 0).toBe(true)
        if (client.isEnded) {
          totals['handshakes refused']++
          continue
        }
        expectNothingElse(got, steps, scopes)
        if (syncScope === undefined && subsets.length === 0) expectAll(got, steps, scopes)
        totals['operations received'] += got.length
      }
    },
    timeoutMs(120_000),
  )
})

/** Who is there while records are moved sees them come, and nothing of them once they have gone; and so does who comes later. */
async function watchUpdates(
  server: SocketServer,
  steps: readonly Step[],
  { random, update }: { random: () => number; update: () => Promise<unknown> },
): Promise<void> {
  const watchers = Array.from({ length: WATCHERS }, (_, number) => {
    const filters = COLLECTIONS.map((name) => [
      name,
      { [pick(FIELDS, random)]: 'a', [pick(FIELDS, random)]: 'a' },
    ])
    const scopes: ScopeMap = Object.fromEntries(filters)
    return { number, scopes, claims: { userId: `w${number}`, scopes: { ...scopes, [LAST]: {} } } }
  })
  const expectRight = async (client: SocketClient, scopes: ScopeMap): Promise<void> => {
    await client.until(() => operationsOf(client).some(({ collection }) => collection === LAST))
    const got = operationsOf(client).filter(({ collection }) => collection !== LAST)
    expectNothingElse(got, steps, scopes)
    expectAll(got, steps, scopes)
    totals['watchers of updates']++
    totals['operations received'] += got.length
    client[Symbol.dispose]()
  }
  const clients = await Promise.all(
    watchers.map(({ number, claims }) => server.connect(`watcher${number}`, claims)),
  )
  await update()
  for (const { number, scopes, claims } of watchers) {
    await expectRight(clients[number] as SocketClient, scopes) // there is one for each
    await expectRight(await server.connect(`late${number}`, claims), scopes)
  }
}
