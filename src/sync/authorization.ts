import type { CheckedAuthContext } from '../auth/provider.ts'
import type { FieldValues } from '../core/operation.ts'
import type { ScopeMap } from '../core/scope.ts'
import { createView, showsRecord, type View } from '../core/view.ts'
import { createWriteAccess, SERVER_ITSELF, type Speaker, type WriteAccess } from '../core/write-access.ts'
import type { BackupSourceStore } from '../store/backup/create-backup.ts'
import type { RestoreTarget } from '../store/backup/restore-backup.ts'
import type { NodeRegistration } from '../store/node-index.ts'
import type { ServerStore } from '../store/store.ts'

/*
 * Who may read and write what is decided here and nowhere else. What is returned are verdicts: values
 * that no other module can make, and without which neither the store nor a relay takes or gives
 * anything. See docs/access.md for every path by which data goes in or out.
 */

// Only the classes below can construct what they are; only this module can ask them to.
let makeClientAccess: (standing: ClientStanding, context: AuthorizationContext) => ClientAccess
let makeOperatorAccess: <Area extends OperatorArea>(area: Area, store: ServerStore) => OperatorAccess<Area>
let makeApplicationAccess: (store: ServerStore) => ApplicationAccess

const MAX_KNOWN_NODES = 100 // of one session: some 30 kB at most; who sends its own operations alone has none

/** The nodes that are the server's, now or before a restore. */
type ServerNodes = Pick<ServerStore, 'getNodeId' | 'getFormerNodeIds'>

/** What authorization has to know of the server. */
export interface AuthorizationContext {
  readonly store: ServerNodes & Pick<ServerStore, 'readNodes'>
  /** True when everybody is let in and nobody can be told from another. */
  readonly isOpen: boolean
}

/** What has been found out about a client. */
interface ClientStanding {
  readonly nodeId: string
  readonly auth: CheckedAuthContext
  readonly view: View
  readonly speaker: Speaker
}

/** What one client may see and write. */
export class ClientAccess {
  readonly view: View
  /** True when the node that this client names as its own belongs to its user. */
  readonly speaksForNode: boolean
  readonly #nodeId: string
  readonly #auth: CheckedAuthContext
  readonly #context: AuthorizationContext
  readonly #asCarrier: WriteAccess
  readonly #asOther: WriteAccess
  readonly #onOwnNode: WriteAccess
  /** On nodes that the store was asked about. Whose a node is stays so; where it was nobody's, the next session asks again. */
  readonly #onKnownNodes = new Map<string, WriteAccess>()

  static {
    makeClientAccess = (standing, context) => new ClientAccess(standing, context)
  }

  private constructor({ nodeId, auth, view, speaker }: ClientStanding, context: AuthorizationContext) {
    this.view = view
    this.speaksForNode = speaker === 'owner'
    this.#nodeId = nodeId
    this.#auth = auth
    this.#context = context
    const scope = auth.scopes ?? null
    this.#asCarrier = createWriteAccess(scope, 'carrier')
    this.#asOther = createWriteAccess(scope, 'nobody')
    this.#onOwnNode = createWriteAccess(scope, speaker)
  }

  get userId(): string {
    return this.#auth.userId
  }

  /** What its authentication grants, whatever it wishes for; null: everything. */
  get granted(): ScopeMap | null {
    return this.#asOther.scope
  }

  /** True when the client may be told of a record with these values. */
  sees(collection: string, values: FieldValues): boolean {
    return showsRecord(collection, values, this.view)
  }

  /** True when the client may write a record with these values. Its own wishes do not narrow that. */
  mayWrite(collection: string, values: FieldValues): boolean {
    return this.#asOther.allows(collection, values)
  }

  /** True when the values of a record can make a difference to what is seen or written. */
  get dependsOnValues(): boolean {
    return this.granted !== null || this.view.isSelective
  }

  /**
   * How an operation of this author may be stored. The vector tells the author's device that the server
   * has all of it up to there: another's claim would make that device skip what it still holds.
   *
   * @returns a promise only where the store has to be asked whose the node is
   */
  writesAs(nodeId: string): WriteAccess | Promise<WriteAccess> {
    const { store, isOpen } = this.#context
    // The server's own numbers are its own: a client could use them up.
    if (nodeId === store.getNodeId()) return this.#asOther
    if (nodeId === this.#nodeId) return this.#onOwnNode
    if (isOpen) return this.#asCarrier
    if (this.#auth.isAnonymous === true) return this.#asOther
    return this.#onKnownNodes.get(nodeId) ?? this.#writesAsRegistered(nodeId)
  }

  /** How an operation may be stored that is not to move the vector, whoever its author is. */
  get writesUncounted(): WriteAccess {
    return this.#asOther
  }

  /**
   * The entry of the vector that tells this client what of its own node it need not send again; null:
   * all of it has to come again. Whoever has no identity to return with may not be who was here.
   */
  get ownEntry(): string | null {
    return this.#auth.isAnonymous === true && !this.#context.isOpen
      ? null
      : this.#onOwnNode.vectorEntryOf(this.#nodeId)
  }

  async #writesAsRegistered(nodeId: string): Promise<WriteAccess> {
    const access = (await this.#isCarrierOf(nodeId)) ? this.#asCarrier : this.#asOther
    if (this.#onKnownNodes.size >= MAX_KNOWN_NODES) this.#onKnownNodes.clear()
    this.#onKnownNodes.set(nodeId, access)
    return access
  }

  /** A former node of the server has no device that brings the rest: whoever is somebody may. */
  async #isCarrierOf(nodeId: string): Promise<boolean> {
    const { store } = this.#context
    if (store.getFormerNodeIds().has(nodeId)) return true
    const registrations = await store.readNodes([nodeId])
    return registrations.get(nodeId)?.userId === this.#auth.userId
  }
}

/**
 * What a client may see and write, once its handshake has said who it is and what it wishes for.
 *
 * @param view what it was granted. @see grantView
 * @param node what is known of the node that it names as its own
 */
export function authorizeClient(
  client: { readonly auth: CheckedAuthContext; readonly view: View; readonly node: NodeRegistration },
  context: AuthorizationContext,
): ClientAccess {
  const { auth, view, node } = client
  const speaker = speakerOn(node, auth, context)
  return makeClientAccess({ nodeId: node.nodeId, auth, view, speaker }, context)
}

/**
 * What a client of another server of the database may see and write, as that server has granted it. By
 * what it wishes for beyond that, the other server chooses what to ask and to tell.
 */
export function authorizePeer({ nodeId, auth }: Pick<ClientStanding, 'nodeId' | 'auth'>): ClientAccess {
  const view = createView(auth.scopes ?? null)
  return makeClientAccess({ nodeId, auth, view, speaker: 'nobody' }, STORED_ELSEWHERE)
}

/**
 * Stands for a server that stores nothing: what a client of another server sends to be stored does not come
 * here.
 */
const STORED_ELSEWHERE: AuthorizationContext = {
  isOpen: false,
  store: { getNodeId: () => '', getFormerNodeIds: () => new Set(), readNodes: async () => new Map() },
}

// ── operators and the application ────────────────────────────────────────────────────────────

/** What an operator's token opens. */
export type OperatorArea = 'admin' | 'metrics' | 'backup'

/** What each of the areas may be given by the store. */
interface OperatorStores {
  readonly admin: Pick<
    ServerStore,
    | 'getSchema'
    | 'getNodeId'
    | 'getFormerNodeIds'
    | 'queryCollection'
    | 'countCollection'
    | 'readOperations'
    | 'findOperationTail'
    | 'readFieldVersions'
    | 'readNodes'
  >
  readonly metrics: Pick<ServerStore, 'getOperationCount' | 'getStorageBytes'>
  readonly backup: BackupSourceStore & RestoreTarget
}

/** A request that has shown the token of an area, and the way to what the area is shown of the store. */
export class OperatorAccess<Area extends OperatorArea = OperatorArea> {
  readonly area: Area
  readonly #store: ServerStore

  static {
    makeOperatorAccess = (area, store) => new OperatorAccess(area, store)
  }

  private constructor(area: Area, store: ServerStore) {
    this.area = area
    this.#store = store
  }

  get store(): OperatorStores[Area] {
    return this.#store
  }
}

/** Asked by src/http/operations/access.ts, once the token of the request has proved to be the area's. */
export function authorizeOperator<Area extends OperatorArea>(
  area: Area,
  store: ServerStore,
): OperatorAccess<Area> {
  return makeOperatorAccess(area, store)
}

/** The program that the server runs in: it reads everything, and writes as the server. */
export class ApplicationAccess {
  readonly #store: ServerStore

  static {
    makeApplicationAccess = (store) => new ApplicationAccess(store)
  }

  private constructor(store: ServerStore) {
    this.#store = store
  }

  get store(): Pick<
    ServerStore,
    'getSchema' | 'getNodeId' | 'queryCollection' | 'findRecord' | 'countCollection'
  > {
    return this.#store
  }

  /** No scope; the numbers of the server's node are given by the store. */
  get write(): WriteAccess {
    return SERVER_ITSELF
  }
}

/** Gives the application its access, without asking who it is: the server runs in its process. */
export function authorizeApplication(store: ServerStore): ApplicationAccess {
  return makeApplicationAccess(store)
}

// ── nodes ────────────────────────────────────────────────────────────────────────────────────

/** True for a node that belongs to no user, because the server writes as it, or did before a restore. */
export function isServerNode(nodeId: string, store: ServerNodes): boolean {
  return nodeId === store.getNodeId() || store.getFormerNodeIds().has(nodeId)
}

/**
 * Nobody speaks for the server's nodes. A token that names a device speaks for that one and for no other.
 * Where it names none, the node belongs to the first user who has proved to be somebody on it. Everybody
 * else is a guest: what they send is stored, and kept count of apart from the owner's.
 */
function speakerOn(
  node: NodeRegistration,
  { deviceId, userId, isAnonymous }: CheckedAuthContext,
  { store, isOpen }: AuthorizationContext,
): Speaker {
  if (isServerNode(node.nodeId, store)) return 'nobody'
  if (isOpen) return 'owner'
  if (deviceId !== undefined) return deviceId === node.nodeId ? 'owner' : 'nobody'
  if (isAnonymous === true) return { guest: '' }
  return node.userId === userId ? 'owner' : { guest: userId }
}
