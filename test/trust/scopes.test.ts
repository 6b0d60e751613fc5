import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { resolveScopes } from '../../src/auth/scope-templates.ts'
import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import type { FieldValues, JsonValue, Operation } from '../../src/core/operation.ts'
import type { QuerySubset, ScopeMap } from '../../src/core/scope.ts'
import { isVisible, type ScopeChanges, scopeKeyOf } from '../../src/core/view.ts'
import { authorizeClient } from '../../src/sync/authorization.ts'
import { grantView } from '../../src/sync/grant.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { randomOf, seedOf, startSocketServer } from '../support/socket-client.ts'
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
        const { view } = await grantView(store, auth, wish)
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

const totals = { pairs: 0, 'operations received': 0, 'handshakes refused': 0, exceeded: 0 }
afterAll(() => reportFigures('scopes, over sockets', totals))

describeEachStore('scopes', (openStore) => {
  test(
    'what a client asks for never widens what it is granted',
    async () => {
      const random = randomOf(seedOf('scopes'))
      await using store = await openStore()
      const author = new OperationAuthor('author')
      const operations: Operation[] = Array.from({ length: 120 }, (_, i) => {
        const data = Object.fromEntries(
          FIELDS.filter(() => random() < 0.8).map((field) => [field, pick(VALUES, random)]),
        )
        return author.insert(recordIdOf(`${i}`), data, { collection: pick(COLLECTIONS, random) })
      })
      await appendAll(store, operations)
      const byId = new Map(operations.map((operation) => [operation.id, operation]))
      const validate = async (token: string) => JSON.parse(token) // what an application returns may be anything
      await using server = await startSocketServer({ store, auth: new TokenAuthProvider({ validate }) })

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
        const got = client.ofType('operation-batch').flatMap((batch) => batch.operations as Operation[])
        if (isRefusal) expect(client.isEnded && got.length === 0).toBe(true)
        if (client.isEnded) {
          totals['handshakes refused']++
          continue
        }
        for (const { id } of got) {
          const operation = byId.get(id)
          expect(operation).toBeDefined()
          if (!isGranted(scopes, operation?.collection ?? '', operation?.data ?? {})) {
            expect.fail(`${JSON.stringify({ scopes, syncScope, subsets, operation })}`)
          }
        }
        if (syncScope === undefined && subsets.length === 0) {
          const granted = operations.filter((op) => isGranted(scopes, op.collection, op.data ?? {}))
          expect(got.map(({ id }) => id)).toEqual(granted.map(({ id }) => id))
        }
        totals['operations received'] += got.length
      }
    },
    timeoutMs(120_000),
  )
})
