/** A value that JSON can carry. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue }

/** Field name → stored value, as an operation or a record carries it. */
export type FieldValues = { readonly [field: string]: JsonValue }

export type OperationType = 'insert' | 'update' | 'delete'

export type AtomicType = 'increment' | 'max' | 'min' | 'append' | 'remove'

/** The intent of a change, beside the value that the author computed. */
export interface AtomicOp {
  readonly type: AtomicType
  readonly value: JsonValue
}

/** A hybrid logical clock reading. @see docs/protocol.md, "Clocks" */
export interface Timestamp {
  /** ms since the epoch, 0 ≤ wallTime < 10^15 */
  readonly wallTime: number
  /** 0 … 99 999 */
  readonly logical: number
  readonly nodeId: string
}

/**
 * An immutable change of one record, made by one node.
 *
 * `id` is the SHA-256 of the content (64 lower-case hex) and the only key by which duplicates are recognised.
 * Optional properties are absent, never undefined or null.
 */
export interface Operation {
  readonly id: string
  readonly nodeId: string
  readonly type: OperationType
  readonly collection: string
  readonly recordId: string
  /** insert: every set field; update: the changed fields only; delete: null */
  readonly data: FieldValues | null
  /** The same fields before the change, as the author saw them. Has no effect on access. */
  readonly previousData: FieldValues | null
  readonly timestamp: Timestamp
  /** Strictly increasing per node; 1, 2, 3… with gaps. */
  readonly sequenceNumber: number
  /** Ids of the direct causal parents. */
  readonly causalDeps: readonly string[]
  readonly schemaVersion: number
  readonly atomicOps?: { readonly [field: string]: AtomicOp }
  /** Id of the client's transaction that the change belongs to. Has no effect here. */
  readonly transactionId?: string
  /** Name of the client's mutation that made the change. Has no effect here. */
  readonly mutationName?: string
}

/**
 * True for a snapshot: a part of a record that a server has written, for views into which the record has moved,
 * under its own node and with the clock of the write that the values come from. In a change by an author, both come
 * from one node.
 *
 * @see docs/scopes.md, "Records that move"
 */
export function isSnapshot({ nodeId, timestamp }: Pick<Operation, 'nodeId' | 'timestamp'>): boolean {
  return timestamp.nodeId !== nodeId
}
