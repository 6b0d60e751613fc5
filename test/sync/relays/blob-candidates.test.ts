import { expect, test } from 'vitest'
import { createView } from '../../../src/core/view.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { authorizeClient } from '../../../src/sync/authorization.ts'
import { RemotePeer } from '../../../src/sync/cluster/remote-peer.ts'
import { Audiences, type RelayPeer } from '../../../src/sync/relays/audiences.ts'
import { findCandidates } from '../../../src/sync/relays/blob-candidates.ts'

const context = { isOpen: false, store: new MemoryServerStore() }

/** One that speaks for its node, as a client of this server does. */
function peer(nodeId: string, org = 'a'): RelayPeer {
  const remote = new RemotePeer(nodeId, { nodeId, userId: nodeId, granted: { files: { org } } })
  const auth = { userId: nodeId, scopes: { files: { org } } }
  const view = createView({ files: { org } })
  const node = { nodeId, userId: nodeId, scopeEra: null, legacyPosition: 0 }
  const access = authorizeClient({ auth, view, node }, context)
  return Object.assign(remote, { identity: { ...remote.identity, access } })
}

function referrer(recordId: string, author: RelayPeer | null = null) {
  const entry = author?.identity?.access.ownEntry ?? null
  return { collection: 'files', recordId, author: entry, values: { org: 'a' } }
}

test('authors come first; others of the tenant fill up to 64, each once, and never who asks', () => {
  const audiences = new Audiences()
  const requester = peer('requester')
  const others = Array.from({ length: 100 }, (_, index) => peer(`other ${index}`))
  const [author, foreign] = [peer('author'), peer('foreign', 'b')]
  for (const each of [requester, ...others, author, foreign]) audiences.join(each)

  const found = findCandidates(audiences, requester, [
    referrer('r1', others[5]),
    referrer('r2', author),
    referrer('r3', foreign), // who does not see it any more
  ])

  expect(found.slice(0, 2)).toEqual([others[5], author])
  expect(found).toHaveLength(64)
  expect(new Set(found).size).toBe(64)
  expect(found).not.toContain(requester)
  expect(found).not.toContain(foreign)
})

test('an author of another tenant is found for as long as it is there and sees the record', () => {
  const audiences = new Audiences()
  const shared = { collection: 'files', recordId: 'r1', values: { org: 'b' } }
  const [requester, author] = [peer('requester'), peer('author', 'b')]
  for (const each of [requester, author]) audiences.join(each)
  const referrers = [{ ...shared, author: author.identity?.access.ownEntry ?? null }]
  expect(findCandidates(audiences, requester, referrers)).toEqual([author])

  audiences.leave(author)

  expect(findCandidates(audiences, requester, referrers)).toEqual([])
})

test('the members of an audience are not gone through for each record, nor all of them', () => {
  const audiences = new Audiences()
  const requester = peer('requester')
  audiences.join(requester)
  for (let index = 0; index < 1000; index++) audiences.join(peer(`other ${index}`))
  const audience = audiences.of(requester)
  let visited = 0
  class CountedSet extends Set<RelayPeer> {
    override *[Symbol.iterator](): SetIterator<RelayPeer> {
      for (const member of super[Symbol.iterator]()) {
        visited++
        yield member
      }
    }
  }
  Object.assign(audience ?? {}, { members: new CountedSet(audience?.members) })
  const author = peer('gone')

  const records = Array.from({ length: 200 }, (_, index) => referrer(`r${index}`, author))
  expect(findCandidates(audiences, requester, records)).toHaveLength(64)

  expect(visited).toBeLessThanOrEqual(65)
})
