import { hash } from 'node:crypto'
import { canonicalJson } from '../core/canonical-json.ts'
import type { HandshakeMessage } from '../protocol/messages.ts'
import type { NodeRegistration } from '../store/store.ts'

/*
 * A client names its watermarks by what it asked for. When what it is granted changes behind that
 * name, because its user's rights have changed or another user has signed in, a watermark counts
 * operations that its present scope hides and skips others that it shows. The server therefore
 * remembers per node since when the grant is what it is:
 *
 *   watermark > since     reached under the present grant
 *   watermark <= since    from before, or of a stream that has not got that far: starts over
 *
 * A stream that started over may be cut off before it has caught up. The view that it was of is
 * remembered once the client has acknowledged something of it, and goes on from where it is.
 */

/** What is known of the grants of one node. */
export interface ScopeEra {
  /** Identifies the grant. */
  readonly key: string
  /** The end of the log when the node was first seen with this grant; 0: it never had another one. */
  readonly since: number
  /** The view whose watermark is of this era even below `since`. */
  readonly restartedView: string | null
}

/** Everything is granted, to whomever. */
export const UNRESTRICTED = 'all'

/** The era that the node was last seen in. A node that nobody has restricted is not written about. */
export function storedEra(registration: NodeRegistration | undefined): ScopeEra {
  const [key = UNRESTRICTED, since = '0', restartedView = ''] = registration?.scopeEra?.split(' ') ?? []
  return { key, since: Number(since), restartedView: restartedView === '' ? null : restartedView }
}

export function serializeEra({ key, since, restartedView }: ScopeEra): string {
  return [key, since, ...(restartedView === null ? [] : [restartedView])].join(' ')
}

/** A new era when the grant is not that of the stored one. */
export function presentEra(stored: ScopeEra, key: string, since: number): ScopeEra {
  return stored.key === key ? stored : { key, since, restartedView: null }
}

/** @param userId null when nobody has proved to be anyone */
export function eraKey(grantKey: string, userId: string | null): string {
  return hash('sha256', canonicalJson([grantKey, userId]), 'base64url')
}

/** Tells apart what a client keeps watermarks for. */
export function viewId({
  syncScope,
  syncQueries,
}: Pick<HandshakeMessage, 'syncScope' | 'syncQueries'>): string {
  return hash('sha256', canonicalJson([syncScope ?? null, syncQueries ?? []]), 'base64url')
}

/** True when a watermark of this view may leave out what the present grant shows. */
export function isOutdated(watermark: number, view: string, era: ScopeEra): boolean {
  return watermark > 0 && watermark <= era.since && era.restartedView !== view
}
