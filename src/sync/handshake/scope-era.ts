import { hash } from 'node:crypto'
import { canonicalJson } from '../../core/canonical-json.ts'
import type { HandshakeMessage } from '../../protocol/messages.ts'
import type { NodeRegistration } from '../../store/node-index.ts'

/*
 * A client names its watermarks by what it asked for. When its grant changes behind that name, because its user's
 * rights have changed or another user has signed in, a watermark counts operations that the present scope hides and
 * skips others that it shows. The server therefore remembers, per node, since when it has had its present grant:
 *
 *   watermark > since     reached under the present grant
 *   watermark <= since    from before, or of a stream that has not got that far: starts over
 *
 * A stream that started over may be cut off before it has caught up. Its view is remembered once the client has
 * acknowledged some of it; that view then continues from its watermark.
 *
 * The same applies to a log that has lost its end, for any position reached before the loss.
 *
 * A client that starts from nothing may have lost its database. Until it reaches the position where the log ended
 * at that time, it may lack operations of its own, whatever its version vector says: it has those that were
 * committed first, which are not always those with the lowest numbers, and meanwhile goes on writing.
 */

/** The era of one node: its grant, and how much it has of its own operations. */
export interface ScopeEra {
  /** Identifies the grant. */
  readonly key: string
  /**
   * The end of the log when the node was first seen with this grant, or when the log lost its end; 0: neither
   * happened.
   */
  readonly since: number
  /** The view whose watermark belongs to this era even below `since`. */
  readonly restartedView: string | null
  /** Below this delivery sequence the client may lack what it has written itself; 0: nowhere. */
  readonly recoversTo: number
}

/** The key of a grant that covers everything, for any user. */
export const UNRESTRICTED = 'all'

/**
 * The era that the node was last seen in. A node without restrictions has none stored until it recovers from a
 * loss.
 */
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

/** The stored era, or a new one where the grant has changed. */
export function presentEra(stored: ScopeEra, key: string, since: number): ScopeEra {
  return stored.key === key ? stored : { ...stored, key, since, restartedView: null }
}

/**
 * Moves the era past the point where the log lost its end: a watermark from before may skip operations that were
 * written in place of the lost ones.
 *
 * @param firstView of a node that was never here before, whose watermarks are all from the present log
 */
export function eraSinceLoss(era: ScopeEra, doubtfulThrough: number, firstView: string | null): ScopeEra {
  return era.since >= doubtfulThrough ? era : { ...era, since: doubtfulThrough, restartedView: firstView }
}

/**
 * The era of a known node that starts at watermark 0: it may have lost its database, although a new view of it also
 * starts at 0.
 */
export function recovering(era: ScopeEra, endOfLog: number): ScopeEra {
  return { ...era, recoversTo: Math.max(era.recoversTo, endOfLog) }
}

/** @param userId null when no identity was proved */
export function eraKey(grantKey: string, userId: string | null): string {
  return hash('sha256', canonicalJson([grantKey, userId]), 'base64url')
}

/** Identifies a view for which the client keeps watermarks of its own. */
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
