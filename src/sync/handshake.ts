import type { AuthContext } from '../auth/provider.ts'
import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
import type { VersionVector } from '../core/version-vector.ts'
import type { HandshakeMessage, HandshakeResponseMessage } from '../protocol/messages.ts'
import type { NodeRegistration } from '../store/store.ts'
import { grantView, startOfStream } from './grant.ts'
import type { SyncHubContext } from './hub-context.ts'
import type { SessionIdentity } from './session.ts'

type Response = Omit<HandshakeResponseMessage, 'messageId'>

export type HandshakeResult =
  | {
      readonly accepted: true
      readonly response: Response
      readonly identity: SessionIdentity
      /** undefined for a client that knows no delivery stream. */
      readonly watermark: number | undefined
      /** Delivery sequence to start from. */
      readonly from: number
      /** The client's version vector. */
      readonly vector: VersionVector
      /** What a client without watermark has acknowledged before; 0 for nothing. */
      readonly legacyPosition: number
      readonly deltaCursor: string | undefined
    }
  | { readonly accepted: false; readonly error: 'AUTH_FAILED' }
  | { readonly accepted: false; readonly error: 'SCHEMA_MISMATCH'; readonly response: Response }

/** Vector entries of other nodes that a response carries at most. */
const MAX_OTHER_NODES = 100

/**
 * Decides a handshake: who it is, whether its schema is supported, what it may see, and where its
 * stream starts.
 *
 * @see docs/protocol.md, "Handshake"
 */
export async function acceptHandshake(
  message: HandshakeMessage,
  context: SyncHubContext,
  logger: Logger,
): Promise<HandshakeResult> {
  const { store, runtime } = context
  const auth = await authenticate(message.authToken ?? '', context, logger)
  if (auth === null) return { accepted: false, error: 'AUTH_FAILED' }

  await context.whenOpen()
  if (await context.revocations.isRevoked(auth)) return { accepted: false, error: 'AUTH_FAILED' }
  const vector = new Map(Object.entries(message.versionVector))
  const base = {
    type: 'handshake-response',
    nodeId: store.getNodeId(),
    versionVector: Object.fromEntries(
      await store.getHandshakeVector({
        nodeIds: [...new Set([...vector.keys(), message.nodeId])],
        userId: isProvable(auth, context) ? auth.userId : null,
        maxOthers: MAX_OTHER_NODES,
      }),
    ),
    schemaVersion: context.schemaVersion,
    serverTime: runtime.now(),
  } as const
  const mismatch = refuseSchemaVersion(message.schemaVersion, context)
  if (mismatch !== null) {
    return { accepted: false, error: 'SCHEMA_MISMATCH', response: { ...base, accepted: false, ...mismatch } }
  }

  const grant = await grantView(store, auth, message)
  const registration = (await store.readNodes([message.nodeId])).get(message.nodeId)
  const registered = await registerNode(message.nodeId, auth, grant.scopeKey, registration, context)
  const watermark = message.lastDeliverySequence
  const head = context.feed.head
  const { from, startsOver } = startOfStream(watermark ?? 0, head, grant, registration)
  return {
    accepted: true,
    response: {
      ...base,
      accepted: true,
      ...(message.supportedWireFormats && { selectedWireFormat: 'json' as const }),
      ...(watermark !== undefined && {
        serverMaxDeliverySequence: startsOver ? Math.min(head, watermark - 1) : head,
      }),
      ...(context.hasBlobStorage && watermark !== undefined && { blobStorageEnabled: true }),
      ...(grant.acceptedScope !== undefined && { acceptedScope: grant.acceptedScope }),
    },
    identity: {
      nodeId: message.nodeId,
      auth,
      view: grant.view,
      isModern: watermark !== undefined,
      speaksForNode: registered.userId === null || registered.userId === auth.userId,
    },
    watermark,
    from,
    vector,
    legacyPosition: watermark === undefined ? (registration?.legacyPosition ?? 0) : 0,
    deltaCursor: message.deltaCursor,
  }
}

/** A provider that throws refuses: a broken check must not let anybody in. */
async function authenticate(
  token: string,
  context: SyncHubContext,
  logger: Logger,
): Promise<AuthContext | null> {
  try {
    return await context.auth.authenticate(token)
  } catch (error) {
    logEvent(logger, LOG_EVENTS.authProviderFailed, { err: error })
    return null
  }
}

function refuseSchemaVersion(
  version: number,
  { supportedSchemaVersions: { min, max } }: SyncHubContext,
): Pick<Response, 'rejectReason' | 'supportedSchemaMin' | 'supportedSchemaMax'> | null {
  if (version >= min && version <= max) return null
  return {
    rejectReason: `SCHEMA_MISMATCH: client schema version ${version} not in supported range [${min}, ${max}]`,
    supportedSchemaMin: min,
    supportedSchemaMax: max,
  }
}

/**
 * The first user who proves an identity on a node is the one who speaks for it. Others may still
 * use it (a shared device), but what they send does not tell that node what it need not send again.
 */
function registerNode(
  nodeId: string,
  auth: AuthContext,
  scopeKey: string,
  registration: NodeRegistration | undefined,
  context: SyncHubContext,
): Promise<NodeRegistration> | NodeRegistration {
  const userId = isProvable(auth, context) ? auth.userId : null
  const isUnchanged = registration?.viewKey === scopeKey && (registration.userId !== null || userId === null)
  if (registration !== undefined && isUnchanged) return registration
  return context.store.registerNode({ nodeId, viewKey: scopeKey, ...(userId !== null && { userId }) })
}

function isProvable(auth: AuthContext, context: SyncHubContext): boolean {
  return !context.isOpen && auth.isAnonymous !== true
}
