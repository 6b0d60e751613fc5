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
 * Access is decided here and nowhere else: what each client, operator and application may read and write. What
 * these functions return are verdicts, values that no other module can make; without one, neither the store nor a
 * relay accepts an operation or hands out data. See docs/access.md for every path by which data goes in or out.
 */

// Only the classes below can construct what they are; only this module can ask them to.
let makeClientAccess: (standing: ClientStanding, context: AuthorizationContext) => ClientAccess
let makeOperatorAccess: <Area extends OperatorArea>(area: Area, store: ServerStore) => OperatorAccess<Area>
let makeApplicationAccess: (store: ServerStore) => ApplicationAccess

const MAX_KNOWN_NODES = 100 // of one session: some 30 kB at most; a client that sends only its own needs none

/** The nodes that are the server's, now or before a restore. */
type ServerNodes = Pick<ServerStore, 'getNodeId' | 'getFormerNodeIds'>

/** The part of the server on which authorization depends. */
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
  /**
   * Verdicts on nodes that the store was asked about. A node keeps its owner; one without an owner is asked about
   * again by the next session.
   */
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

  /** True when the client may write a record with these values. The queries that it wishes for do not narrow this. */
  mayWrite(collection: string, values: FieldValues): boolean {
    return this.#asOther.allows(collection, values)
  }

  /** True when the values of a record can make a difference to what is seen or written. */
  get dependsOnValues(): boolean {
    return this.granted !== null || this.view.isSelective
  }

  /**
   * The access with which an operation of this author may be stored. The version vector tells the author's device
   * how far the server has its operations: if a stranger could raise it, that device would skip what it has yet to
   * send.
   *
   * @returns a promise only where the store has to be asked who owns the node
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

  /** Access for operations that must not move the version vector, whoever wrote them. */
  get writesUncounted(): WriteAccess {
    return this.#asOther
  }

  /**
   * The vector entry that tells this client which of its own operations it need not send again. null where it has
   * to send all of them: an anonymous client cannot prove that it is the one that was here before.
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

  /**
   * True where the user may carry this node's operations: its owner may, and any known user where the node is a
   * former one of the server, which has no device of its own.
   */
  async #isCarrierOf(nodeId: string): Promise<boolean> {
    const { store } = this.#context
    if (store.getFormerNodeIds().has(nodeId)) return true
    const registrations = await store.readNodes([nodeId])
    return registrations.get(nodeId)?.userId === this.#auth.userId
  }
}

/**
 * What a client may see and write, decided after its handshake has named it and its wishes.
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
 * What a client of another server of the database may see and write, as that server has granted it. Its wishes play
 * no part here: the other server applies them before it asks or tells its client anything.
 */
export function authorizePeer({ nodeId, auth }: Pick<ClientStanding, 'nodeId' | 'auth'>): ClientAccess {
  const view = createView(auth.scopes ?? null)
  return makeClientAccess({ nodeId, auth, view, speaker: 'nobody' }, STORED_ELSEWHERE)
}

/** Stands in for the store: operations of another server's client are never stored here. */
const STORED_ELSEWHERE: AuthorizationContext = {
  isOpen: false,
  store: { getNodeId: () => '', getFormerNodeIds: () => new Set(), readNodes: async () => new Map() },
}

// ── operators and the application ────────────────────────────────────────────────────────────

/** What an operator's token opens. */
export type OperatorArea = 'admin' | 'metrics' | 'backup'

/** The part of the store that each area may use. */
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

/** A request that has shown the token of an area, with access to the part of the store that the area needs. */
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

/** Called only by src/http/operations/access.ts, once the request has shown the token of the area. */
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

  /** The application has no scope, and its operations are numbered by the store. */
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
 * Decides whether the client owns the node. Nobody owns the server's nodes. A token that names a device owns that
 * device's node and no other. Without a device, the node belongs to the first user who has proved an identity on
 * it. Anyone else is a guest, whose operations are stored but counted apart from the owner's.
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
