import { askProvider } from '../../auth/ask-provider.ts'
import type { AuthContext, CheckedAuthContext } from '../../auth/provider.ts'
import { hasEnded } from '../../auth/token-end.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { isGuestEntry } from '../../core/version-vector.ts'
import type { HandshakeMessage, HandshakeResponseMessage } from '../../protocol/messages.ts'
import type { NodeRegistration } from '../../store/node-index.ts'
import { authorizeClient, type ClientAccess, isServerNode } from '../authorization.ts'
import type { OwedOperations, SessionIdentity } from '../session-identity.ts'
import { type Grant, grantView } from './grant.ts'
import type { HandshakeContext } from './handshake-context.ts'
import {
  eraKey,
  eraSinceLoss,
  presentEra,
  recovering,
  type ScopeEra,
  serializeEra,
  storedEra,
  UNRESTRICTED,
  viewId,
} from './scope-era.ts'
import { type StreamGrounds, type StreamStart, startOfDelta, startOfStream } from './stream-start.ts'

type Response = Omit<HandshakeResponseMessage, 'messageId'>

export interface AcceptedHandshake extends StreamStart {
  readonly accepted: true
  readonly response: Response
  readonly identity: SessionIdentity
  /** undefined for a client without watermark. */
  readonly watermark: number | undefined
  readonly deltaCursor: string | undefined
  /** The client's schema version. */
  readonly schemaVersion: number
  /**
   * The era that the node is registered under: what a session notes of the node counts only as long as this still
   * holds.
   */
  readonly registeredEra: string | null
}

export type HandshakeResult = AcceptedHandshake | RefusedIdentity | RefusedSchema

interface RefusedIdentity {
  readonly accepted: false
  readonly error: 'AUTH_FAILED' | 'AUTH_UNAVAILABLE'
  /** The application's code failed, so the same token may be accepted next time. */
  readonly mayPass?: boolean
}

interface RefusedSchema {
  readonly accepted: false
  readonly error: 'SCHEMA_MISMATCH'
  readonly response: Response
}

const ENDED_CONTEXT = 'The context of the provider has an expiresAt that has passed.'

/** Most vector entries of other nodes in a response. */
const MAX_OTHER_NODES = 100

/**
 * Decides a handshake: who it is, whether its schema is supported, what it may see, and where its
 * stream starts.
 *
 * @see docs/protocol.md, "Handshake"
 */
export async function acceptHandshake(
  message: HandshakeMessage,
  context: HandshakeContext,
  logger: Logger,
): Promise<HandshakeResult> {
  const identified = await authenticate(message, context, logger)
  if ('error' in identified) return identified
  const refused = refuseSchemaVersion(message.schemaVersion, context)
  if (refused !== null) return refused
  const located = await locateClient(message, identified.auth, context)
  return acceptClient(message, { ...located, auth: identified.auth }, context)
}

/** Determines who a client is, or why it is not let in. */
async function authenticate(
  message: HandshakeMessage,
  context: HandshakeContext,
  logger: Logger,
): Promise<{ readonly auth: CheckedAuthContext } | RefusedIdentity> {
  const auth = await askProvider(context.auth, message.authToken ?? '', logger)
  if (auth === 'unavailable') return { accepted: false, error: 'AUTH_UNAVAILABLE' }
  if (typeof auth === 'string') return { accepted: false, error: 'AUTH_FAILED', mayPass: auth === 'failed' }
  if (hasEnded(auth, context.runtime.now())) {
    logEvent(logger, LOG_EVENTS.tokenRefused, { reason: 'TOKEN_EXPIRED', detail: ENDED_CONTEXT })
    return { accepted: false, error: 'AUTH_FAILED' }
  }
  await context.whenOpen()
  return (await context.revocations.isRevoked(auth)) ? { accepted: false, error: 'AUTH_FAILED' } : { auth }
}

/** A client that is let in, and what is known of it. */
interface LocatedClient extends StreamGrounds {
  readonly grant: Grant
}

/** Finds what a client is granted and since when, its node, and which operations it need not send. */
async function locateClient(
  message: HandshakeMessage,
  auth: CheckedAuthContext,
  context: HandshakeContext,
): Promise<LocatedClient> {
  const { store } = context
  const grant = await grantView(auth, message, context)
  await context.toldFields.prepare(grant.view)
  const registration = (await store.readNodes([message.nodeId])).get(message.nodeId)
  const head = await endOfLog(message.lastDeliverySequence, context)
  const userId = isProvable(auth, context) ? auth.userId : null
  const era = presentEraOf(message, { grant, userId, head, registration }, store.doubtfulThrough ?? 0)
  const owner = mayBind(message.nodeId, auth, context) ? userId : null
  const registered = await registerNode(message, { userId: owner, era, registration }, context)
  const access = authorizeClient({ auth, view: grant.view, node: registered }, context)
  const told = await tellVector(message, { access, userId }, context)
  return { grant, era, head, registered, access, told }
}

type KnownClient = LocatedClient & { readonly auth: CheckedAuthContext }

/** Accepts a client: decides where its stream starts, what it is told, and what its session keeps. */
function acceptClient(
  message: HandshakeMessage,
  client: KnownClient,
  context: HandshakeContext,
): AcceptedHandshake {
  const { auth, access, told, registered } = client
  const watermark = message.lastDeliverySequence
  const start =
    watermark === undefined ? startOfDelta(message, client) : startOfStream(message, watermark, client)
  return {
    accepted: true,
    response: createResponse(message, { ...client, from: start.from }, context),
    identity: {
      nodeId: message.nodeId,
      auth,
      access,
      hasWatermark: watermark !== undefined,
      owed: owedOperations(message, told),
    },
    watermark,
    registeredEra: registered.scopeEra,
    deltaCursor: message.deltaCursor,
    schemaVersion: message.schemaVersion,
    ...start,
  }
}

/** @param located.from delivery sequence that the stream starts from */
function createResponse(
  message: HandshakeMessage,
  { grant, head, told, from }: LocatedClient & { readonly from: number },
  context: HandshakeContext,
): Response {
  const watermark = message.lastDeliverySequence
  return {
    ...responseBase(context),
    versionVector: told,
    accepted: true,
    ...selectWireFormat(message),
    ...(watermark !== undefined && {
      serverMaxDeliverySequence: from < watermark ? Math.min(head, watermark - 1) : head,
    }),
    ...(context.hasBlobStorage && watermark !== undefined && { blobStorageEnabled: true }),
    ...(grant.acceptedScope !== undefined && { acceptedScope: grant.acceptedScope }),
    serverTime: context.runtime.now(), // after all waiting: a client takes any delay for an error of its own clock
  }
}

/** The fields that every response has. */
function responseBase({ store, schemaVersion }: HandshakeContext) {
  return { type: 'handshake-response', nodeId: store.getNodeId(), schemaVersion } as const
}

/** Selects JSON wherever it is offered: no stock client changes its format after the response. */
function selectWireFormat({
  supportedWireFormats = [],
}: HandshakeMessage): Pick<Response, 'selectedWireFormat'> {
  if (supportedWireFormats.includes('json')) return { selectedWireFormat: 'json' }
  return supportedWireFormats.includes('protobuf') ? { selectedWireFormat: 'protobuf' } : {}
}

function owedOperations(
  { nodeId, versionVector }: HandshakeMessage,
  told: Response['versionVector'],
): OwedOperations {
  const above = Object.hasOwn(told, nodeId) ? (told[nodeId] ?? 0) : 0
  return { above, through: Math.max(versionVector[nodeId] ?? 0, above + 1) }
}

/** Asks the store where the client is ahead of the feed, as after a commit by another process. */
async function endOfLog(watermark: number | undefined, { feed, store }: HandshakeContext): Promise<number> {
  if (watermark === undefined || watermark <= feed.head) return feed.head
  return Math.max(feed.head, await store.getMaxDeliverySequence())
}

/** What determines an era, beside the client's message. */
interface SeenOfNode {
  readonly grant: Grant
  readonly userId: string | null
  /** The end of the log. */
  readonly head: number
  readonly registration: NodeRegistration | undefined
}

/** The era that the node is in now: that of its grant, of the log, and of a client that may have lost its database. */
function presentEraOf(message: HandshakeMessage, seen: SeenOfNode, doubtfulThrough: number): ScopeEra {
  const { head, registration } = seen
  const watermark = message.lastDeliverySequence
  const isFirst = registration === undefined && (watermark ?? 0) === 0
  const granted = eraOf(message, seen, isFirst)
  const sinceLoss = eraSinceLoss(granted, doubtfulThrough, isFirst ? viewId(message) : null)
  return watermark === 0 && registration !== undefined ? recovering(sinceLoss, head) : sinceLoss
}

/**
 * The era that a watermark, or a position acknowledged without one, belongs to. Where the client is told its scope,
 * it keeps its watermarks under that name, and they are complete for it, as they are where everything is granted.
 * Otherwise the same name may cover watermarks from a time when less was granted.
 */
function eraOf(message: HandshakeMessage, seen: SeenOfNode, isFirst: boolean): ScopeEra {
  const { grant, userId, registration } = seen
  const stored = storedEra(registration)
  const watermark = message.lastDeliverySequence
  const isTold = watermark !== undefined && grant.acceptedScope !== undefined
  // Nothing marks gaps for a client without watermark, so other subsets count as another grant.
  const grantKey = watermark === undefined ? grant.view.key : grant.scopeKey
  const isUnrestricted = grant.isUnrestricted && (watermark !== undefined || grant.view.subsets.length === 0)
  const key = isUnrestricted || isTold ? UNRESTRICTED : eraKey(grantKey, userId)
  return presentEra(stored, key, isFirst ? 0 : Math.max(seen.head, watermark ?? 0))
}

/**
 * The vector entries that tell a client what it need not send. For its own node: only what it has itself sent,
 * because another client could have used the id. For the other nodes that it has operations of: what is stored.
 */
async function tellVector(
  { nodeId, versionVector }: HandshakeMessage,
  { access, userId }: { readonly access: ClientAccess; readonly userId: string | null },
  { store }: HandshakeContext,
): Promise<Response['versionVector']> {
  const entry = access.ownEntry
  const told = await store.getHandshakeVector({
    nodeIds: Object.keys(versionVector).filter((other) => other !== nodeId && !isGuestEntry(other)),
    entry,
    userId,
    maxOthers: MAX_OTHER_NODES,
  })
  const named = [...told].map(([key, number]): [string, number] => [key === entry ? nodeId : key, number])
  return Object.fromEntries(named.filter(([key, number]) => number > 0 && (key !== nodeId || entry !== null)))
}

function refuseSchemaVersion(version: number, context: HandshakeContext): RefusedSchema | null {
  const { min, max } = context.supportedSchemaVersions
  if (version >= min && version <= max) return null
  const response: Response = {
    ...responseBase(context),
    versionVector: {},
    accepted: false,
    rejectReason: `SCHEMA_MISMATCH: client schema version ${version} not in supported range [${min}, ${max}]`,
    supportedSchemaMin: min,
    supportedSchemaMax: max,
    serverTime: context.runtime.now(),
  }
  return { accepted: false, error: 'SCHEMA_MISMATCH', response }
}

/**
 * Binds the node to the first user who proves an identity on it. Others may still use it, as on a shared device,
 * but what they send does not count as sent by that node.
 */
function registerNode(
  { nodeId, lastDeliverySequence }: HandshakeMessage,
  seen: { userId: string | null; era: ScopeEra; registration: NodeRegistration | undefined },
  context: HandshakeContext,
): Promise<NodeRegistration> | NodeRegistration {
  const { userId, era, registration } = seen
  const stored = storedEra(registration)
  const isSameGrant = stored.key === era.key
  const isSameEra = isSameGrant && stored.since === era.since && stored.recoversTo === era.recoversTo
  const isUnchanged = isSameEra && (registration?.userId !== null || userId === null)
  if (registration !== undefined && isUnchanged) return registration
  return context.store.registerNode({
    nodeId,
    ...(!isSameEra && { scopeEra: serializeEra(era) }),
    ...(!isSameGrant && lastDeliverySequence === undefined && { legacyPosition: 0 }),
    ...(userId !== null && { userId }),
  })
}

function isProvable(auth: AuthContext, context: HandshakeContext): boolean {
  return !context.isOpen && auth.isAnonymous !== true
}

/** True unless the token names another device than this node, or the node is the server's own. */
function mayBind(nodeId: string, { deviceId }: AuthContext, { store }: HandshakeContext): boolean {
  return (deviceId === undefined || deviceId === nodeId) && !isServerNode(nodeId, store)
}
