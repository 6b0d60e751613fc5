/**
 * What the dashboard's data routes answer, as JSON. The server and the page are compiled from these
 * same types; the page imports nothing else of the server.
 */

/** One second of the server's life. Rates are per second; latencies are null when nothing happened. */
export interface LiveSample {
  /** ms since the epoch, the end of the second */
  readonly at: number
  readonly sessions: number
  readonly receivedPerSecond: number
  readonly deliveredPerSecond: number
  readonly refusedPerSecond: number
  /** From the arrival of a batch to its acknowledgment, ms. */
  readonly acknowledgeP50Ms: number | null
  readonly acknowledgeP99Ms: number | null
  readonly commitP99Ms: number | null
  readonly queuedBytes: number
  readonly deliverySequence: number
}

export interface Overview {
  readonly version: string
  readonly nodeId: string
  readonly nodeVersion: string
  /** Why the server does not do its work; null when it does. */
  readonly problem: string | null
  readonly uptimeMs: number
  readonly memoryBytes: number
  readonly schemaVersion: number
  readonly collections: number | null
  readonly sessions: number
  readonly peakSessions: number
  readonly sessionsOpened: number
  readonly operationsReceived: number
  readonly operationsDelivered: number
  readonly operationsRefused: number
  /** In the log; null when the store does not answer. */
  readonly operations: number | null
  /** The store keeps its data on a disk, and tells how much. */
  readonly isOnDisk: boolean
  /** On disk; null where that is not known, or not now. */
  readonly storeBytes: number | null
  readonly warnings: number
  /** The last minutes, oldest first; empty for who does not want them. */
  readonly samples: readonly LiveSample[]
}

export type ShownSessionState = 'connected' | 'authenticating' | 'syncing' | 'streaming' | 'closed'

export interface ShownSession {
  readonly id: string
  readonly state: ShownSessionState
  /** null before the handshake */
  readonly userId: string | null
  readonly nodeId: string | null
  readonly remoteAddress: string | null
  /** For how long, by the clock of the server. */
  readonly connectedMs: number
  readonly format: 'json' | 'protobuf'
  /** Committed entries that it has not been sent; null for clients without watermark. */
  readonly lagEntries: number | null
  /** For how long it has acknowledged nothing of what it was sent. */
  readonly unacknowledgedMs: number | null
  readonly bufferedBytes: number
}

export interface SessionsPage {
  readonly total: number
  /** Sessions that the filter lets through. */
  readonly matching: number
  readonly offset: number
  readonly sessions: readonly ShownSession[]
}

export interface ShownField {
  readonly name: string
  readonly kind: string
  readonly enumValues: readonly string[] | null
  /** Filters and orders by it are answered from an index. */
  readonly isIndexed: boolean
  /** Records can be found by a value of it. */
  readonly isFilterable: boolean
  /** Records can be ordered by it. */
  readonly isOrdered: boolean
}

export interface ShownCollection {
  readonly name: string
  /** Live records; null while they cannot be counted. */
  readonly records: number | null
  readonly fields: readonly ShownField[]
}

export interface CollectionsAnswer {
  readonly hasSchema: boolean
  readonly collections: readonly ShownCollection[]
}

/** A value as text: nothing of a record is ever more than that on the page. */
export interface ShownValue {
  readonly kind: 'null' | 'text' | 'number' | 'boolean' | 'time' | 'json' | 'bytes' | 'secret' | 'encrypted'
  readonly text: string
  /** Length of the whole text in characters, where `text` is only its beginning. */
  readonly fullLength?: number
}

export interface ShownRecord {
  readonly id: string
  readonly createdAt: number
  readonly updatedAt: number
  readonly isDeleted: boolean
  readonly values: { readonly [field: string]: ShownValue }
}

export interface RecordsPage {
  readonly collection: string
  readonly offset: number
  readonly records: readonly ShownRecord[]
  readonly hasMore: boolean
}

export interface ShownChange {
  readonly field: string
  /** What the operation carries. */
  readonly value: ShownValue
  /** What its author saw before; null when the operation does not tell. */
  readonly before: ShownValue | null
  /** Such as `increment`: what the author meant by the change. */
  readonly atomic: string | null
  /** The field shows what this operation made of it. */
  readonly isCurrent: boolean
}

/** Who wrote something, and when. */
export interface ShownAuthor {
  readonly nodeId: string
  /** The user that the node is bound to. */
  readonly userId: string | null
  readonly isServer: boolean
  /** By the clock of its device, ms since the epoch. */
  readonly wallTime: number
}

export interface ShownOperation extends ShownAuthor {
  readonly id: string
  readonly deliverySequence: number
  readonly type: 'insert' | 'update' | 'delete'
  readonly sequenceNumber: number
  readonly logical: number
  readonly schemaVersion: number
  readonly transactionId: string | null
  readonly mutationName: string | null
  readonly isEncrypted: boolean
  readonly changes: readonly ShownChange[]
}

export interface RecordAnswer {
  readonly collection: string
  readonly id: string
  /** null: the store has no table for it, or the record is not there. */
  readonly record: ShownRecord | null
  /** By field that is present: who wrote it last, whichever operations are shown. */
  readonly setBy: { readonly [field: string]: ShownAuthor }
  /** In delivery order. */
  readonly operations: readonly ShownOperation[]
  /** The first operation is the record's first. */
  readonly isFromStart: boolean
  /** The last operation is the record's last. */
  readonly isToEnd: boolean
}

export interface ShownRefusal {
  readonly at: number
  readonly code: string
  readonly detail: string
  readonly operationId: string
  readonly collection: string
  readonly recordId: string
  readonly nodeId: string
  readonly userId: string
  /** False for clients that are too old to be told. */
  readonly wasTold: boolean
}

export interface RefusalsAnswer {
  /** Since the start. */
  readonly total: number
  readonly byCode: readonly {
    readonly code: string
    readonly count: number
    readonly remedy: string | null
  }[]
  /** The newest first, as many as are kept. */
  readonly refusals: readonly ShownRefusal[]
}

export interface ShownWarning {
  /** When it was last said, in ms since the epoch. */
  readonly at: number
  readonly level: 'warn' | 'error'
  readonly message: string
  readonly fields: { readonly [field: string]: string }
  /** How often the same was said, of whomever and whatever a client had sent; `fields` are those of the last time. */
  readonly count: number
}

export interface WarningsAnswer {
  /** Since the start. */
  readonly total: number
  /** The newest first, as many as are kept: the oldest of what came in the most forms have gone. */
  readonly warnings: readonly ShownWarning[]
}

export interface ShownServer {
  readonly id: string
  readonly isThis: boolean
  readonly schemaVersion: number | null
  readonly seenAt: number
}

export interface ServersAnswer {
  /** False where one process has the store for itself. */
  readonly isShared: boolean
  readonly servers: readonly ShownServer[]
}
