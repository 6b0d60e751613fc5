import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import type { ScopeMap } from '../../src/core/scope.ts'
import { KoraSyncServer, type KoraSyncServerConfig } from '../../src/http/kora-sync-server.ts'
import type { AwarenessState, SyncMessage } from '../../src/protocol/messages.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { MemoryTransport } from './memory-transport.ts'
import { type SimulatedRuntime, settle, simulatedRuntime } from './simulated-runtime.ts'
import { operation } from './wire-operations.ts'

/** A connection whose network takes only what the test lets it. */
export class RelayClient extends MemoryTransport {
  bufferedBytes = 0
  mayLoseMessages = false
  errorsAreFinal = false
  hasAllMessages = false
  /** As a client knows the others: by presence id. */
  readonly peers = new Map<string, AwarenessState>()

  override send(message: SyncMessage): void {
    super.send(message)
    if (message.type !== 'awareness-update') return
    for (const [id, state] of Object.entries(message.states)) {
      if (state === null) this.peers.delete(id)
      else this.peers.set(id, state)
    }
  }

  get peerNames(): string[] {
    return [...this.peers.values()].map(({ user }) => user.name).sort()
  }

  /** Every client process numbers itself 1. */
  present(state: AwarenessState | null): void {
    this.receive({ type: 'awareness-update', messageId: 'p', clientId: 1, states: { '1': state } })
  }
}

export interface ConnectOptions {
  /** What the token grants; null: everything. */
  readonly scopes?: ScopeMap | null
  readonly isLegacy?: boolean
  /** Its messages are requests of their own, of which any may be lost. */
  readonly isPolling?: boolean
  readonly userId?: string
  readonly handshake?: object
  /** Default: one that reads everything at once. */
  readonly client?: RelayClient
}

export interface RelayServer {
  readonly server: KoraSyncServer
  readonly store: ServerStore
  readonly runtime: SimulatedRuntime
  /** A client that has its initial data. */
  connect(nodeId: string, options?: ConnectOptions): Promise<RelayClient>
  /** Stores an insert, or an update when `type` says so, as that node's. */
  write(collection: string, recordId: string, data: FieldValues, changes?: Partial<Operation>): Promise<void>
}

/** A server on a simulated clock, where a token is the JSON of what it grants. */
export function openRelayServer(config: Partial<KoraSyncServerConfig> = {}): RelayServer {
  const runtime = simulatedRuntime()
  const store = config.store ?? new MemoryServerStore({ nodeId: 'server', runtime })
  const auth = new TokenAuthProvider({
    validate: async (token) => {
      const { userId, scopes } = JSON.parse(token) as { userId: string; scopes: ScopeMap | null }
      return scopes === null ? { userId } : { userId, scopes }
    },
  })
  const server = new KoraSyncServer({ store, runtime, logger: silentLogger, auth, ...config })
  let made = 0
  return {
    server,
    store,
    runtime,
    async connect(nodeId, options = {}) {
      const { scopes = null, isLegacy = false, isPolling = false, userId = nodeId, handshake = {} } = options
      const { client = new RelayClient() } = options
      client.mayLoseMessages = isPolling
      client.errorsAreFinal = isPolling
      server.handleConnection(client)
      client.receive({
        type: 'handshake',
        messageId: 'h',
        nodeId,
        versionVector: {},
        schemaVersion: 1,
        authToken: JSON.stringify({ userId, scopes }),
        ...(isLegacy ? {} : { lastDeliverySequence: 0 }),
        ...handshake,
      })
      await settle()
      return client
    },
    async write(collection, recordId, data, changes = {}) {
      made++
      const nodeId = changes.nodeId ?? 'writer'
      const timestamp = { wallTime: 1_748_736_000_000 + made, logical: 0, nodeId }
      const draft = operation({
        nodeId,
        sequenceNumber: made,
        collection,
        recordId,
        data,
        timestamp,
        ...changes,
      })
      await store.applyRemoteOperation({ ...draft, id: computeOperationId(draft) })
      await settle()
    },
  }
}

export function user(name: string): AwarenessState {
  return { user: { name, color: '#2563eb' } }
}

export function cursorAt(name: string, collection: string, recordId: string, anchor = 0): AwarenessState {
  return { ...user(name), cursor: { collection, recordId, field: 'title', anchor, head: anchor } }
}
