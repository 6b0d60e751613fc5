import { applyAtomic } from '../../../src/core/atomic.ts'
import { sortCausally } from '../../../src/core/causal-order.ts'
import { compareTimestamps } from '../../../src/core/clock.ts'
import type {
  AtomicOp,
  FieldValues,
  JsonValue,
  Operation,
  OperationType,
  Timestamp,
} from '../../../src/core/operation.ts'
import { computeOperationId } from '../../../src/core/operation-id.ts'
import type {
  CollectionDefinition,
  RelationDefinition,
  SchemaDefinition,
} from '../../../src/core/schema/types.ts'
import { DeviceClock } from './clock.ts'
import { mergeRemote, type Row, writeLocal } from './merge.ts'
import { assertStorable } from './storable.ts'

/** A record as an application sees it. */
export type DeviceRecord = { readonly id: string; readonly [field: string]: JsonValue }

export interface LocalWrite {
  readonly type: OperationType
  readonly collection: string
  readonly recordId: string
  /** insert: the whole record; update: the changed fields; delete: null */
  readonly data: FieldValues | null
  readonly atomicOps?: { readonly [field: string]: AtomicOp }
}

/** Operations that belong together: they share `transactionId` and depend on one another in order. */
export interface Transaction {
  readonly id: string
  readonly mutationName?: string
  lastOperationId?: string
}

export interface DatabaseOptions {
  readonly nodeId: string
  readonly now: () => number
  readonly schema: SchemaDefinition | null
  readonly schemaVersion: number
}

/**
 * What a device keeps on its disk: the log of the operations it made or received, one table per
 * collection merged as clients merge, the clock, and how far it has seen each node.
 *
 * @see docs/protocol.md, "Clients"
 */
export class DeviceDatabase {
  readonly nodeId: string
  readonly #options: DatabaseOptions
  readonly #clock: DeviceClock
  readonly #log = new Map<string, Operation>()
  readonly #logByRecord = new Map<string, Operation[]>()
  readonly #rows = new Map<string, Map<string, Row>>()
  readonly #vector = new Map<string, number>()
  readonly #lastIdByCollection = new Map<string, string>()
  #sequenceNumber = 0
  /** Told of every operation this device authors, also of those that follow from a remote delete. */
  onAuthored: (operation: Operation) => void = () => {}

  constructor(options: DatabaseOptions) {
    this.nodeId = options.nodeId
    this.#options = options
    this.#clock = new DeviceClock(options.nodeId, options.now)
  }

  get versionVector(): { [nodeId: string]: number } {
    return Object.fromEntries(this.#vector)
  }

  has(operationId: string): boolean {
    return this.#log.has(operationId)
  }

  get operations(): readonly Operation[] {
    return [...this.#log.values()]
  }

  /** The live records of a collection, by id. */
  records(collection: string): DeviceRecord[] {
    return [...(this.#rows.get(collection) ?? [])]
      .filter(([, row]) => !row.isDeleted)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, row]) => ({ id, ...row.values }))
  }

  row(collection: string, recordId: string): Row | null {
    return this.#rows.get(collection)?.get(recordId) ?? null
  }

  collectionDefinition(collection: string): CollectionDefinition | null {
    const collections = this.#options.schema?.collections
    return collections && Object.hasOwn(collections, collection) ? (collections[collection] ?? null) : null
  }

  /** Makes one operation of this device, and those that relations ask for; applies and logs them. */
  write(write: LocalWrite, transaction?: Transaction): Operation {
    if (write.type === 'delete') this.#refuseRestricted(write.collection, write.recordId)
    const operation = this.#author(write, transaction)
    this.#commitLocal(operation)
    if (write.type === 'delete') this.#writeSideEffects(operation)
    return operation
  }

  /** Takes in what this device itself wrote in an earlier life. */
  restore(operation: Operation): void {
    this.#clock.receive(operation.timestamp)
    this.#append(operation)
    this.#setRow(operation, writeLocal(this.row(operation.collection, operation.recordId), operation))
  }

  /**
   * Takes in an operation of another node, or an own one that came back.
   *
   * @throws Error when a client's table could not hold it
   */
  receive(operation: Operation): 'applied' | 'duplicate' {
    if (this.#log.has(operation.id)) return 'duplicate'
    const definition = this.collectionDefinition(operation.collection)
    if (this.#options.schema !== null && definition === null) return 'applied' // clients skip what they do not know
    if (definition !== null) assertStorable(operation, definition)
    this.#clock.receive(operation.timestamp)
    const lastLocal = this.#lastLocal(operation)
    if (operation.type === 'delete' && isUpdateAfter(lastLocal, operation)) return 'applied'
    this.#append(operation)
    const row = this.row(operation.collection, operation.recordId)
    this.#setRow(
      operation,
      mergeRemote(row, operation, { definition, lastLocal, log: this.#recordLog(operation) }),
    )
    if (operation.type === 'delete') this.#writeSideEffects(operation)
    return 'applied'
  }

  /** The log above a vector, causes before effects. */
  operationsAbove(vector: { readonly [nodeId: string]: number }): readonly Operation[] {
    const missing = this.operations.filter(
      (operation) =>
        operation.sequenceNumber >
        (Object.hasOwn(vector, operation.nodeId) ? (vector[operation.nodeId] ?? 0) : 0),
    )
    return sortCausally(missing)
  }

  /** Makes an operation that was stamped by a wrong clock again: new time and id, same number. */
  restamp(operation: Operation): Operation {
    const { id: _id, ...content } = operation
    const restamped = withId({ ...content, timestamp: this.#clock.now() })
    this.#log.delete(operation.id)
    this.#logByRecord.set(
      recordKey(operation),
      this.#recordLog(operation).map((logged) => (logged.id === operation.id ? restamped : logged)),
    )
    this.#log.set(restamped.id, restamped)
    return restamped
  }

  #author(write: LocalWrite, transaction?: Transaction, cause?: string): Operation {
    const { type, collection, recordId } = write
    const row = this.row(collection, recordId)
    const data = this.#completeData(write, row)
    const causalDeps = [cause, this.#lastIdByCollection.get(collection), transaction?.lastOperationId]
    const operation = withId({
      nodeId: this.nodeId,
      type,
      collection,
      recordId,
      data,
      previousData: type === 'update' ? pickPresent(row?.values ?? {}, Object.keys(data ?? {})) : null,
      timestamp: this.#clock.now(),
      sequenceNumber: ++this.#sequenceNumber,
      causalDeps: [...new Set(causalDeps.filter((id) => id !== undefined))],
      schemaVersion: this.#options.schemaVersion,
      ...(write.atomicOps && Object.keys(write.atomicOps).length > 0 ? { atomicOps: write.atomicOps } : {}),
      ...(transaction ? { transactionId: transaction.id } : {}),
      ...(transaction?.mutationName ? { mutationName: transaction.mutationName } : {}),
    })
    this.#lastIdByCollection.set(collection, operation.id)
    if (transaction) transaction.lastOperationId = operation.id
    return operation
  }

  #completeData(write: LocalWrite, row: Row | null): FieldValues | null {
    if (write.type === 'delete') return null
    if (write.type === 'insert') return { ...this.#defaults(write.collection), ...write.data }
    const resolved = Object.entries(write.atomicOps ?? {}).map(([field, atomic]) => [
      field,
      applyAtomic(atomic.type, row?.values[field], atomic.value),
    ])
    return { ...write.data, ...Object.fromEntries(resolved) }
  }

  #defaults(collection: string): FieldValues {
    const defaults: Record<string, JsonValue> = {}
    for (const [field, descriptor] of Object.entries(this.collectionDefinition(collection)?.fields ?? {})) {
      if (descriptor.auto && descriptor.kind === 'timestamp') defaults[field] = this.#options.now()
      else if (descriptor.defaultValue !== undefined) defaults[field] = descriptor.defaultValue
    }
    return defaults
  }

  #commitLocal(operation: Operation): void {
    this.#append(operation)
    this.#setRow(operation, writeLocal(this.row(operation.collection, operation.recordId), operation))
    this.onAuthored(operation)
  }

  #append(operation: Operation): void {
    this.#log.set(operation.id, operation)
    const key = recordKey(operation)
    const logged = this.#logByRecord.get(key)
    if (logged) logged.push(operation)
    else this.#logByRecord.set(key, [operation])
    const known = this.#vector.get(operation.nodeId) ?? 0
    this.#vector.set(operation.nodeId, Math.max(known, operation.sequenceNumber))
    if (operation.nodeId === this.nodeId) {
      this.#sequenceNumber = Math.max(this.#sequenceNumber, operation.sequenceNumber)
    }
  }

  #setRow(operation: Operation, row: Row | null): void {
    if (row === null) return
    const table = this.#rows.get(operation.collection) ?? new Map<string, Row>()
    table.set(operation.recordId, row)
    this.#rows.set(operation.collection, table)
  }

  #recordLog(operation: Operation): readonly Operation[] {
    return this.#logByRecord.get(recordKey(operation)) ?? []
  }

  #lastLocal(operation: Operation): Operation | null {
    const own = this.#recordLog(operation).filter((logged) => logged.nodeId === this.nodeId)
    return own.at(-1) ?? null
  }

  #refuseRestricted(collection: string, recordId: string): void {
    for (const { relation } of this.#references(collection, recordId)) {
      if (relation.onDelete === 'restrict') {
        throw new Error(
          `${collection}/${recordId} is still referred to by ${relation.from}.${relation.field}`,
        )
      }
    }
  }

  /** What relations ask for after a delete. One level deep, as clients do it. */
  #writeSideEffects(deletion: Operation): void {
    for (const { relation, recordId } of this.#references(deletion.collection, deletion.recordId)) {
      const target = { collection: relation.from, recordId }
      if (relation.onDelete === 'cascade') {
        this.#commitLocal(this.#author({ ...target, type: 'delete', data: null }, undefined, deletion.id))
      } else if (relation.onDelete === 'set-null') {
        const data = { [relation.field]: null }
        this.#commitLocal(this.#author({ ...target, type: 'update', data }, undefined, deletion.id))
      }
    }
  }

  #references(collection: string, recordId: string): { relation: RelationDefinition; recordId: string }[] {
    return Object.entries(this.#options.schema?.relations ?? {})
      .filter(([, relation]) => relation.to === collection)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, relation]) =>
        this.records(relation.from)
          .filter((record) => record[relation.field] === recordId)
          .map((record) => ({ relation, recordId: record.id })),
      )
  }
}

function withId(content: Omit<Operation, 'id'>): Operation {
  return { id: computeOperationId(content), ...content }
}

function recordKey(operation: Operation): string {
  return `${operation.collection}/${operation.recordId}`
}

function isUpdateAfter(operation: Operation | null, other: { readonly timestamp: Timestamp }): boolean {
  return operation?.type === 'update' && compareTimestamps(operation.timestamp, other.timestamp) > 0
}

function pickPresent(values: FieldValues, fields: readonly string[]): FieldValues {
  return Object.fromEntries(
    fields.flatMap((field) => (Object.hasOwn(values, field) ? [[field, values[field] as JsonValue]] : [])),
  )
}
