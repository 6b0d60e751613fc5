import type { AuthContext, AuthProvider } from '../../auth/provider.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { ServerStore } from '../../store/store.ts'
import type { ToldFields } from '../feed/told-fields.ts'
import type { FeedWindow } from '../feed/views.ts'

/** What a handshake needs of the server. */
export interface HandshakeContext {
  readonly store: Pick<
    ServerStore,
    | 'doubtfulThrough'
    | 'getNodeId'
    | 'getFormerNodeIds'
    | 'getHandshakeVector'
    | 'getMaxDeliverySequence'
    | 'readNodes'
    | 'registerNode'
    | 'trackScopeField'
  >
  readonly runtime: Pick<Runtime, 'now'>
  readonly auth: AuthProvider
  /** True when everybody is let in and nobody can be told from another. */
  readonly isOpen: boolean
  readonly schemaVersion: number
  readonly supportedSchemaVersions: { readonly min: number; readonly max: number }
  readonly hasBlobStorage: boolean
  readonly feed: Pick<FeedWindow, 'head'>
  readonly toldFields: Pick<ToldFields, 'prepare'>
  readonly revocations: { isRevoked(auth: AuthContext): Promise<boolean> }
  /** Resolves when the end of the log is known; rejects when the store cannot tell it. */
  whenOpen(): Promise<void>
}
