import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FieldValues } from '../../../src/core/operation.ts'
import { grantScope, matchesScope, type ScopeMap } from '../../../src/core/scope.ts'
import { authorizePeer } from '../../../src/sync/authorization.ts'
import { Tenants } from '../../../src/sync/relays/tenants.ts'
import { cursorAt, openRelayServer, type RelayClient, user } from '../../support/relay-server.ts'

/** More in nightly runs: PROPERTY_RUNS=100000. */
const RUNS = Math.ceil(Number(process.env.PROPERTY_RUNS ?? 400) / 20)

const RECORDS: Readonly<Record<string, FieldValues>> = {
  r1: { org: 'a', owner: 'x' },
  r2: { org: 'a', owner: 'y' },
  r3: { org: 'b', owner: 'x' },
}

const GRANTS: readonly (ScopeMap | null)[] = [
  null,
  { todos: {} },
  { todos: { org: 'a' } },
  { todos: { org: 'a' }, teams: { org: 'a' } },
  { teams: { org: 'a' }, todos: { owner: 'x' } },
  { teams: { org: 'a' }, todos: { owner: 'y' } },
  { teams: { org: 'b' } },
]

const WISHES: readonly (ScopeMap | null)[] = [null, { todos: { owner: 'x' } }, { todos: { owner: 'y' } }]

const place = fc.constantFrom('none', 'none', 'nowhere', 'gone', ...Object.keys(RECORDS))
const person = fc.record({
  scopes: fc.constantFrom(...GRANTS),
  wish: fc.constantFrom(...WISHES),
  place,
})
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ act: fc.constant('present'), who: fc.nat(), place }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('come'), person }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('leave'), who: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('stall'), who: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('wait'), ms: fc.constantFrom(50, 150, 21_000) }) },
)

interface Person {
  readonly name: string
  readonly scopes: ScopeMap | null
  readonly wish: ScopeMap | null
  readonly client: RelayClient
  place: string
}

test('everybody knows of the others what it may, whatever they do and in whichever order', async () => {
  const people = fc.array(person, { minLength: 1, maxLength: 60, size: 'max' })
  const steps = fc.array(step, { maxLength: 60, size: 'max' })
  await fc.assert(
    fc.asyncProperty(people, steps, async (first, acts) => {
      const { connect, runtime, write } = openRelayServer()
      for (const [id, values] of Object.entries(RECORDS)) await write('todos', id, values)
      const present: Person[] = []
      let count = 0
      const come = async ({ scopes, wish, place }: Omit<Person, 'name' | 'client'>) => {
        const name = `person ${count++}`
        const handshake = wish === null ? {} : { syncScope: wish }
        const client = await connect(name, { scopes, handshake })
        const newcomer = { name, scopes, wish, client, place }
        present.push(newcomer)
        goTo(newcomer, place)
      }
      for (const one of first) await come(one)
      for (const act of acts) {
        const who = 'who' in act ? present[act.who % present.length] : undefined
        if ('person' in act) await come(act.person)
        else if ('ms' in act) await runtime.advance(act.ms)
        else if (who === undefined) continue
        else if ('place' in act) goTo(who, act.place)
        else if (act.act === 'stall') who.client.bufferedBytes = who.client.bufferedBytes > 0 ? 0 : 2 ** 30
        else {
          who.client.disconnect()
          present.splice(present.indexOf(who), 1)
        }
      }
      for (const { client } of present) client.bufferedBytes = 0
      await runtime.advance(1000)

      const still = present.filter(({ client }) => client.closed === null) // some did not acknowledge, or read
      for (const watcher of still) {
        const expected = still
          .filter((author) => author !== watcher)
          .map((author) => shownTo(watcher, author))
          .filter((shown) => shown !== null)
        expect([...watcher.client.peers.values()].map(describe).sort()).toEqual(expected.sort())
      }
    }),
    { numRuns: RUNS },
  )
})

function goTo(person: Person, place: string): void {
  person.place = place
  if (place === 'gone') person.client.present(null)
  else if (place === 'none') person.client.present(user(person.name))
  else person.client.present(cursorAt(person.name, 'todos', place))
}

/** @returns what a receiver is to know of an author; null: nothing */
function shownTo(watcher: Person, author: Person): string | null {
  if (author.place === 'gone') return null
  const values = RECORDS[author.place] ?? {}
  if (author.place !== 'none' && sees(author, values) && sees(watcher, values))
    return `${author.name} at ${author.place}`
  const tags = tagsOf(watcher)
  return tagsOf(author).some((tag) => tags.includes(tag)) ? author.name : null
}

function sees({ scopes, wish }: Person, values: FieldValues): boolean {
  return matchesScope(values, 'todos', grantScope(scopes, wish ?? undefined))
}

function tagsOf({ scopes, name }: Person): readonly string[] {
  const auth = scopes === null ? { userId: name } : { userId: name, scopes }
  return new Tenants().tagsOf(authorizePeer({ nodeId: name, auth }))
}

function describe(state: { user: { name: string }; cursor?: { recordId: string } }): string {
  return state.cursor === undefined ? state.user.name : `${state.user.name} at ${state.cursor.recordId}`
}
