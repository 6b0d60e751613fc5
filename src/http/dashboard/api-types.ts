/**
 * The JSON answers of the dashboard's data routes. The server and the page are compiled from these same types; the
 * page imports nothing else of the server.
 */

/** One second of the server's life. Rates are per second; latencies are null for a second without any. */
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
  /** Why the server does not work; null when it does. */
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
  /** The number in the log; null when the store does not answer. */
  readonly operations: number | null
  /** True when the store keeps its data on disk, and reports how much. */
  readonly isOnDisk: boolean
  /** Bytes on disk; null where unknown, or unknown just now. */
  readonly storeBytes: number | null
  readonly warnings: number
  /** The last minutes, oldest first; empty where they were not asked for. */
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
  /** ms since it connected, by the server's clock. */
  readonly connectedMs: number
  readonly format: 'json' | 'protobuf'
  /** Committed entries that it has not been sent yet; null for clients without watermark. */
  readonly lagEntries: number | null
  /** ms for which it has acknowledged nothing of what it was sent. */
  readonly unacknowledgedMs: number | null
  readonly bufferedBytes: number
}

export interface SessionsPage {
  readonly total: number
  /** Sessions that match the filter. */
  readonly matching: number
  readonly offset: number
  readonly sessions: readonly ShownSession[]
}

export interface ShownField {
  readonly name: string
  readonly kind: string
  readonly enumValues: readonly string[] | null
  /** True where an index answers filters and orders by this field. */
  readonly isIndexed: boolean
  /** True where records can be found by a value of this field. */
  readonly isFilterable: boolean
  /** True where records can be ordered by this field. */
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

/** A value as text, which is all that the page ever gets of a record. */
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
  /** The value that the operation carries. */
  readonly value: ShownValue
  /** The value that its author saw before; null when the operation does not carry it. */
  readonly before: ShownValue | null
  /** The author's intent, such as `increment`. */
  readonly atomic: string | null
  /** True when this operation determines the field's present value. */
  readonly isCurrent: boolean
}

/** The author of a write, and its time. */
export interface ShownAuthor {
  readonly nodeId: string
  /** The user that the node is bound to. */
  readonly userId: string | null
  readonly isServer: boolean
  /** ms since the epoch, by the clock of the author's device. */
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
  /** null: the store has no table for it, or the record does not exist. */
  readonly record: ShownRecord | null
  /** The author of the last write of each field that is present, even if that operation is not shown. */
  readonly setBy: { readonly [field: string]: ShownAuthor }
  /** In delivery order. */
  readonly operations: readonly ShownOperation[]
  /** True when the first operation shown is the record's first. */
  readonly isFromStart: boolean
  /** True when the last operation shown is the record's last. */
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
  /** False for clients that are too old to understand a refusal. */
  readonly wasTold: boolean
}

export interface RefusalsAnswer {
  /** Count since the start. */
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
  /** When it was last logged, in ms since the epoch. */
  readonly at: number
  readonly level: 'warn' | 'error'
  readonly message: string
  readonly fields: { readonly [field: string]: string }
  /** How often it was logged, for any client and whatever that had sent; `fields` are those of the last time. */
  readonly count: number
}

export interface WarningsAnswer {
  /** Count since the start. */
  readonly total: number
  /** The newest first, as many as are kept. Kinds that occur in many forms lose their oldest ones first. */
  readonly warnings: readonly ShownWarning[]
}

export interface ShownServer {
  readonly id: string
  readonly isThis: boolean
  readonly schemaVersion: number | null
  readonly seenAt: number
}

export interface ServersAnswer {
  /** False where one process has the store to itself. */
  readonly isShared: boolean
  readonly servers: readonly ShownServer[]
}
