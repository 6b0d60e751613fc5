import type { VersionVector } from '../../core/version-vector.ts'
import type { HandshakeMessage, HandshakeResponseMessage } from '../../protocol/messages.ts'
import { EMPTY_LOG, type NodeRegistration } from '../../store/node-index.ts'
import type { ClientAccess } from '../authorization.ts'
import { isOutdated, type ScopeEra, serializeEra, storedEra, viewId } from './scope-era.ts'

/** Where the stream of a client starts, and what it is believed to have. */
export interface StreamStart {
  /** Delivery sequence to start from. */
  readonly from: number
  /** The client's version vector. */
  readonly vector: VersionVector
  /** Up to here the vector of a client without watermark can be trusted; 0: unknown; `EMPTY_LOG`: nowhere. */
  readonly legacyPosition: number
  /** False where the position has to be stored before the client is sent anything. */
  readonly isPositionNoted: boolean
  /** Up to here the client is known to have its own operations. */
  readonly ownSequence: number
  /** The era to store for the node once the client acknowledges something; null: none. */
  readonly restartedEra: string | null
}

/** What determines where a stream starts, beside the client's message. */
export interface StreamGrounds {
  readonly era: ScopeEra
  /** The end of the log. */
  readonly head: number
  readonly registered: NodeRegistration
  readonly access: ClientAccess
  /** The version vector in the response. */
  readonly told: HandshakeResponseMessage['versionVector']
}

/**
 * Where the stream of a client with watermark starts: at the watermark, or at 0 where it has to start over. Its
 * watermark may be above our log (an older backup was restored), or belong to another grant.
 *
 * @see docs/protocol.md, "Watermarks"
 */
export function startOfStream(
  message: HandshakeMessage,
  watermark: number,
  { era, head }: Pick<StreamGrounds, 'era' | 'head'>,
): StreamStart {
  const vector = claimedVector(message)
  const view = viewId(message)
  const from = watermark > head || isOutdated(watermark, view, era) ? 0 : watermark
  const hasItsOwn = from > 0 && from >= era.recoversTo
  const isRemembered = from > 0 || era.since === 0 || era.restartedView === view
  return {
    from,
    vector,
    legacyPosition: 0,
    isPositionNoted: true,
    ownSequence: hasItsOwn ? (vector.get(message.nodeId) ?? 0) : 0,
    restartedEra: isRemembered ? null : serializeEra({ ...era, restartedView: view }),
  }
}

/**
 * Where the delta of a client without watermark starts. Its vector counts only where it was reached under the
 * present grant, by a client that owns the node; otherwise everything is sent again.
 *
 * Once it is sent commits as they come, its vector may hide gaps, and the server may die before it has stored what
 * was acknowledged. So the end of the log is stored first: up to there, the vector can be trusted if it was free of
 * gaps. What comes later is sent again until more is known.
 */
export function startOfDelta(
  message: HandshakeMessage,
  { told, era, head, access, registered }: StreamGrounds,
): StreamStart {
  const { nodeId, legacyPosition } = registered
  const fromNothing = { from: 0, ownSequence: 0, restartedEra: null }
  const isPresent = storedEra(registered).key === era.key // another session may have come meanwhile
  const isTrusted = access.speaksForNode && isPresent && (era.since === 0 || legacyPosition >= era.since)
  if (!isTrusted) return { ...fromNothing, vector: new Map(), legacyPosition: 0, isPositionNoted: true }
  const claimed = claimedVector(message)
  const vector = withoutGaps(claimed, told, nodeId)
  const isWhole = [...vector].every(([node, number]) => number === claimed.get(node))
  if (legacyPosition !== 0 || !isWhole) {
    return { ...fromNothing, vector, legacyPosition, isPositionNoted: true }
  }
  const position = head === 0 ? EMPTY_LOG : head
  return { ...fromNothing, vector, legacyPosition: position, isPositionNoted: false }
}

/** The version vector that the client claims, before any of it is checked. */
function claimedVector({ versionVector }: HandshakeMessage): VersionVector {
  return new Map(Object.entries(versionVector))
}

/**
 * The part of the vector of a client without watermark that can be trusted to have no gaps. For a node whose
 * operations were stored beyond a gap, our own vector tells where the gap begins: the client may have been sent
 * what lies above it before the gap was filled.
 */
function withoutGaps(
  vector: VersionVector,
  ours: { readonly [nodeId: string]: number },
  ownNodeId: string,
): VersionVector {
  const whole = ([nodeId, number]: [string, number]): [string, number] => {
    const known = Object.hasOwn(ours, nodeId) && nodeId !== ownNodeId ? ours[nodeId] : undefined
    return [nodeId, Math.min(number, known ?? number)]
  }
  return new Map([...vector].map(whole))
}
