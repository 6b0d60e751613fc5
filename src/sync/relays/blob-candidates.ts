import { showsRecord } from '../../core/view.ts'
import type { Audience, Audiences, RelayPeer } from './audiences.ts'
import type { VisibleReferrer } from './blob-access.ts'

/**
 * Most clients that are asked. Not every client that has seen a record has also loaded its blob, but among this
 * many one has.
 */
const MAX_PEERS = 64

/**
 * Finds clients that may have the bytes and may be asked for them: the author of the reference, on the same device,
 * and clients of the requester's tenant that see the record and are granted no part of a collection other than the
 * requester's. An administrator sees the records of all tenants and has all their blobs, so a client that writes a
 * foreign hash into its own record must not get them from there.
 *
 * @returns each client once, the likeliest first
 */
export function findCandidates(
  audiences: Audiences,
  requester: RelayPeer,
  referrers: readonly VisibleReferrer[],
): RelayPeer[] {
  const authors = new Set(referrers.flatMap((referrer) => findAuthors(audiences, referrer)))
  const candidates = new Set([...authors, ...findColleagues(audiences, requester, referrers)])
  candidates.delete(requester)
  return [...candidates].slice(0, MAX_PEERS)
}

function findAuthors(audiences: Audiences, { collection, values, author }: VisibleReferrer): RelayPeer[] {
  if (author === null) return []
  return audiences.ownersOf(author).filter((peer) => {
    const audience = audiences.of(peer)
    return audience !== null && showsRecord(collection, values, audience.view)
  })
}

/** Stops at the number that are asked: thousands of clients may all see the same hundred records. */
function findColleagues(
  audiences: Audiences,
  { identity }: RelayPeer,
  referrers: readonly VisibleReferrer[],
): Set<RelayPeer> {
  const found = new Set<RelayPeer>()
  if (identity === null) return found
  const { access } = identity
  const tenant = access.granted === null ? null : audiences.colleaguesOf(access)
  const taken = new Set<Audience>()
  for (const { collection, values } of referrers) {
    for (const audience of audiences.seeing(collection, values)) {
      if (taken.has(audience) || tenant?.has(audience) === false) continue
      taken.add(audience)
      for (const peer of audience.members) {
        found.add(peer)
        if (found.size > MAX_PEERS) return found // one of them may be the requester
      }
    }
  }
  return found
}
