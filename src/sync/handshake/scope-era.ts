import { hash } from 'node:crypto'
import { canonicalJson } from '../../core/canonical-json.ts'
import type { HandshakeMessage } from '../../protocol/messages.ts'
import type { NodeRegistration } from '../../store/node-index.ts'

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
 *
 * The same goes for a log that has lost its end, of what was reached in it before.
 *
 * A client that begins from nothing may have lost its database. Until it has got to where the log ended then, it may
 * lack operations of its own, whatever its version vector says: it has those that were committed first, which are not
 * always those with the lowest numbers, and goes on writing.
 */

/** What is known of the grants of one node, and of what it has of its own. */
export interface ScopeEra {
  /** Identifies the grant. */
  readonly key: string
  /** The end of the log when the node was first seen with this grant, or the log had lost its end; 0: neither was so. */
  readonly since: number
  /** The view whose watermark is of this era even below `since`. */
  readonly restartedView: string | null
  /** Below this delivery sequence the client may lack what it has written itself; 0: nowhere. */
  readonly recoversTo: number
}

/** Everything is granted, to whomever. */
export const UNRESTRICTED = 'all'

/** The era that the node was last seen in. A node that nobody has restricted is written about only once it recovers. */
export function storedEra(registration: NodeRegistration | undefined): ScopeEra {
  const parts = registration?.scopeEra?.split(' ') ?? []
  const [key = UNRESTRICTED, since = '0', restartedView = '', recoversTo = '0'] = parts
  return {
    key,
    since: Number(since),
    restartedView: restartedView === '' ? null : restartedView,
    recoversTo: Number(recoversTo),
  }
}

/** The text that an era is stored as. `storedEra` reads it. */
export function serializeEra({ key, since, restartedView, recoversTo }: ScopeEra): string {
  const parts = [key, since, restartedView ?? '', recoversTo === 0 ? '' : recoversTo]
  return parts.join(' ').trimEnd()
}

/** A new era when the grant is not that of the stored one. */
export function presentEra(stored: ScopeEra, key: string, since: number): ScopeEra {
  return stored.key === key ? stored : { ...stored, key, since, restartedView: null }
}

/**
 * The era, unless it is from before the log lost its end: a watermark from then may pass over what others have
 * written in the place of that.
 *
 * @param firstView of a node that was never here before, whose watermarks are all of the log as it is
 */
export function eraSinceLoss(era: ScopeEra, doubtfulThrough: number, firstView: string | null): ScopeEra {
  return era.since >= doubtfulThrough ? era : { ...era, since: doubtfulThrough, restartedView: firstView }
}

/** A node that was here before has a watermark of 0: it may have lost its database. Another view of it has one, too. */
export function recovering(era: ScopeEra, endOfLog: number): ScopeEra {
  return { ...era, recoversTo: Math.max(era.recoversTo, endOfLog) }
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
