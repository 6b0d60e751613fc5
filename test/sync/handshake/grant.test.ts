import { expect, test } from 'vitest'
import type { AuthContext, CheckedAuthContext } from '../../../src/auth/provider.ts'
import type { QuerySubset, ScopeMap } from '../../../src/core/scope.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { ServerStore, TrackScopeFieldOptions } from '../../../src/store/store.ts'
import { grantView } from '../../../src/sync/handshake/grant.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'

const NEWS: readonly QuerySubset[] = [{ collection: 'news', where: { topic: 'sea' } }]
const TODOS: readonly QuerySubset[] = [{ collection: 'todos', where: { title: 'x' } }]

/** What a handshake adds to what the store is indexed by. */
async function addedBy(
  auth: AuthContext,
  handshake: { syncQueries?: readonly QuerySubset[]; syncScope?: ScopeMap },
  { isOpen = false, tracked = [] as string[] } = {},
): Promise<string[]> {
  const store: ServerStore = new MemoryServerStore({ nodeId: 'server' })
  const author = new OperationAuthor('a')
  await appendAll(store, [
    author.insert(recordIdOf('n'), { topic: 'sea' }, { collection: 'news' }),
    author.insert(recordIdOf('t'), { title: 'x' }, { collection: 'todos' }),
  ])
  for (const field of tracked) await store.trackScopeField('news', field)
  const known = new Set(tracked.map((field) => `news.${field}`))
  const added: string[] = []
  const watched = {
    async trackScopeField(collection: string, field: string | null, options?: TrackScopeFieldOptions) {
      const isTracked = await store.trackScopeField(collection, field, options)
      const name = `${collection}.${field ?? '*'}`
      if (isTracked && !known.has(name)) added.push(name)
      return isTracked
    },
  }
  await grantView(auth as CheckedAuthContext, handshake, { store: watched, isOpen })
  return added
}

const member: AuthContext = { userId: 'u', scopes: { news: {} } }
const visitor: AuthContext = { userId: 'anon', isAnonymous: true, scopes: { news: {} } }

test('a client may wish for fields of a collection that it sees', async () => {
  expect(await addedBy(member, { syncQueries: NEWS })).toEqual(['news.*', 'news.topic'])
  expect(await addedBy({ userId: 'u' }, { syncQueries: TODOS })).toEqual(['todos.title'])
})

test('what is hidden from a client is not indexed by its wishes, which all who write there would pay for', async () => {
  expect(await addedBy(member, { syncQueries: TODOS })).toEqual(['news.*'])
  expect(await addedBy(member, { syncQueries: [{ collection: 'todos', where: {} }] })).toEqual(['news.*'])
})

test('a visitor beside users who are known adds nothing, and uses what is there', async () => {
  expect(await addedBy(visitor, { syncQueries: NEWS })).toEqual(['news.*'])
  expect(await addedBy(visitor, { syncScope: { news: { topic: 'sea' } } })).toEqual([])
  expect(await addedBy(visitor, { syncQueries: NEWS }, { tracked: ['topic'] })).toEqual(['news.*'])
})

test('where there is no authentication, everybody may wish', async () => {
  const anybody: AuthContext = { userId: 'anonymous', isAnonymous: true }

  expect(await addedBy(anybody, { syncQueries: NEWS }, { isOpen: true })).toEqual(['news.topic'])
})
