import { grantKindsBy } from '../../auth/explaining-provider.ts'
import type { AuthProvider } from '../../auth/provider.ts'
import { assertNever } from '../../core/errors.ts'
import type {
  BlobChunkPushMessage,
  BlobChunkRequestMessage,
  BlobChunkResponseMessage,
  ReceivedAwarenessMessage,
  YjsDocUpdateMessage,
} from '../../protocol/messages.ts'
import type { ServerStore } from '../../store/store.ts'
import { ClusterRelays } from '../cluster/cluster-relays.ts'
import { Audiences, type RelayPeer } from './audiences.ts'
import { BlobRelay, type BlobRelayOptions } from './blob-relay.ts'
import { PresenceRelay, type PresenceRelayOptions } from './presence-relay.ts'
import { RecordValuesCache } from './record-values-cache.ts'
import { RichtextRelay } from './richtext-relay.ts'
import { Tenants } from './tenants.ts'

export type RelayedMessage =
  | ReceivedAwarenessMessage
  | YjsDocUpdateMessage
  | BlobChunkRequestMessage
  | BlobChunkResponseMessage
  | BlobChunkPushMessage

export type RelaysOptions = PresenceRelayOptions &
  BlobRelayOptions & { readonly store: Pick<ServerStore, 'cluster'>; readonly auth: AuthProvider }

/** Everything that passes from client to client without becoming an operation: none of it is in the log. */
export class Relays {
  readonly presence: PresenceRelay
  readonly richtext: RichtextRelay
  readonly blobs: BlobRelay
  readonly #audiences: Audiences
  /** null where there is only one server. */
  readonly #cluster: ClusterRelays | null

  constructor(options: RelaysOptions) {
    const { auth } = options
    this.#audiences = new Audiences(new Tenants(grantKindsBy(auth)))
    const records = new RecordValuesCache(options.store, options.runtime)
    this.presence = new PresenceRelay(this.#audiences, records, {
      ...options,
      onPresenceChanged: (peer, state) => this.#cluster?.onPresence(peer, state),
    })
    this.richtext = new RichtextRelay(this.#audiences, records, {
      ...options,
      onRichtextRelayed: (author, message) => this.#cluster?.onRichtext(author, message),
    })
    this.blobs = new BlobRelay(this.#audiences, {
      ...options,
      askElsewhere: async (...asked) => (await this.#cluster?.askForBlob(...asked)) ?? null,
    })
    const { cluster } = options.store
    this.#cluster = cluster === undefined ? null : new ClusterRelays(cluster, this, options.runtime)
  }

  /** Handles one message of an accepted session. Returns a promise only where its next message has to wait. */
  receive(session: RelayPeer, message: RelayedMessage): Promise<void> | undefined {
    switch (message.type) {
      case 'awareness-update':
        return this.presence.receive(session, message)
      case 'yjs-doc-update':
        return this.richtext.receive(session, message)
      case 'blob-chunk-request':
      case 'blob-chunk-response':
      case 'blob-chunk-push':
        return this.blobs.receive(session, message)
      default:
        return assertNever(message)
    }
  }

  /** The session has its initial data, so it may be told of the others. */
  onStreaming(session: RelayPeer): void {
    if (this.#audiences.join(session) !== null) this.presence.onStreaming(session)
  }

  onClosed(session: RelayPeer): void {
    this.presence.onClosed(session, this.#audiences.leave(session))
    this.blobs.onClosed(session)
  }

  /** Resolves when nothing that was pushed is still on its way to the storage. */
  drain(): Promise<void> {
    return this.blobs.drain()
  }

  stop(): void {
    this.#cluster?.stop()
    this.presence.stop()
    this.blobs.stop()
  }
}
