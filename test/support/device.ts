import type { AtomicOp, FieldValues, Operation } from '../../src/core/operation.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import type { QuerySubset, ScopeMap } from '../../src/core/scope.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import type { AwarenessState, ErrorMessage, SyncMessage, WireFormat } from '../../src/protocol/messages.ts'
import { DeviceDatabase, type DeviceRecord, type Transaction } from './device/database.ts'
import { Journal } from './device/journal.ts'
import { connectPolling } from './device/polling.ts'
import { Conditions } from './device/settle.ts'
import { type ConnectSocket, connectWebSocket } from './device/socket.ts'
import { DeviceSync, type SyncState } from './device/sync.ts'

const { uuid, setTimer } = systemRuntime()
const UNTIL_MS = 10_000 // how long a test waits for anything; generous, because machines are busy

export interface DeviceOptions {
  /** `ws://…`, or `http://…` for polling */
  readonly url: string
  /** What the journal calls it. Default: the node id. */
  readonly name?: string
  readonly nodeId?: string
  readonly token?: string | (() => string | null)
  /** What it asks the server for, and filters by itself. */
  readonly scope?: ScopeMap
  readonly queries?: readonly QuerySubset[]
  /** With a schema the device merges, defaults and refuses as a client of that app does. */
  readonly schema?: SchemaDefinition
  /** Default: the schema's, else 1. */
  readonly schemaVersion?: number
  /** Knows neither delivery sequences nor refusals of single operations. */
  readonly isLegacy?: boolean
  readonly wireFormat?: WireFormat
  /** Default: by the scheme of the url. */
  readonly transport?: 'websocket' | 'polling'
  /** Polling: whether its page is loaded anew after an `error`, so that it comes back. Default: never. */
  readonly reloadsAfter?: (error: ErrorMessage) => boolean
  /** A network of its own instead of sockets. */
  readonly connect?: ConnectSocket
  /** Default: real timers. */
  readonly setTimer?: Runtime['setTimer']
  readonly batchSize?: number
  /** Batches sent without waiting; stock clients: 1. */
  readonly pipelineDepth?: number
  readonly ackTimeoutMs?: number
  /** First delay before it connects again; doubles up to a second. */
  readonly reconnectMs?: number
  /** The device's clock, ms since the epoch. */
  readonly now?: () => number
  /** Default true: connect at once. */
  readonly isOnline?: boolean
}

/**
 * One device of a Kora app, with a local database, a clock, and a client that speaks the sync
 * protocol over a real connection exactly as the stock clients do, quirks included. It keeps a
 * journal of all it sent, was told and received.
 *
 * @example
 * await using phone = await openDevice({ url: server.url })
 * const id = phone.insert('todos', { title: 'milk' })
 * await phone.synced()
 */
export async function openDevice(options: DeviceOptions): Promise<Device> {
  const device = new Device(options)
  if (options.isOnline ?? true) {
    device.goOnline()
    await device.streaming()
  }
  return device
}

export class Device implements AsyncDisposable {
  readonly nodeId: string
  readonly isPolling: boolean
  readonly journal: Journal
  /** States of the other users, by presence id. */
  readonly peers = new Map<string, AwarenessState>()
  /** Messages that are not about operations, in order of arrival. */
  readonly messages: SyncMessage[] = []
  readonly #database: DeviceDatabase
  readonly #sync: DeviceSync
  readonly #conditions = new Conditions()
  #presence: AwarenessState | null = null

  constructor(options: DeviceOptions) {
    const now = options.now ?? Date.now
    this.nodeId = options.nodeId ?? uuid()
    this.journal = new Journal(options.name ?? this.nodeId, now)
    const schemaVersion = options.schemaVersion ?? options.schema?.version ?? 1
    this.#database = new DeviceDatabase({
      nodeId: this.nodeId,
      now,
      schema: options.schema ?? null,
      schemaVersion,
    })
    const transport = options.transport ?? (options.url.startsWith('http') ? 'polling' : 'websocket')
    this.isPolling = transport === 'polling'
    const { token } = options
    this.#sync = new DeviceSync(
      {
        url: options.url,
        token: typeof token === 'function' ? token : () => token ?? null,
        scope: options.scope ?? null,
        queries: options.queries ?? [],
        schemaVersion,
        isLegacy: options.isLegacy ?? false,
        wireFormat: options.wireFormat ?? 'json',
        staysAwayAfter: (error) => this.isPolling && options.reloadsAfter?.(error) !== true,
        batchSize: options.batchSize ?? 100,
        pipelineDepth: options.pipelineDepth ?? 1,
        ackTimeoutMs: options.ackTimeoutMs ?? 30_000,
        reconnectMs: options.reconnectMs ?? 50,
        now,
        setTimer: options.setTimer ?? setTimer,
        connect: options.connect ?? (transport === 'polling' ? connectPolling : connectWebSocket),
      },
      this.#database,
      this.journal,
      () => this.#onChange(),
    )
    this.#database.onAuthored = (operation) => {
      this.journal.record({ kind: 'authored', operation })
      this.#sync.enqueue(operation)
    }
    this.#sync.onOtherMessage = (message) => this.#onOtherMessage(message)
  }

  // ── the local database ─────────────────────────────────────────────────────────────────────

  /** @returns the new record's id */
  insert(collection: string, data: FieldValues, recordId: string = uuid()): string {
    this.#database.write({ type: 'insert', collection, recordId, data })
    return recordId
  }

  /** @param atomicOps what is meant relative to the present value: `{ count: { type: 'increment', value: 1 } }` */
  update(
    collection: string,
    recordId: string,
    changes: FieldValues,
    atomicOps: { readonly [field: string]: AtomicOp } = {},
  ): Operation {
    return this.#database.write({ type: 'update', collection, recordId, data: changes, atomicOps })
  }

  delete(collection: string, recordId: string): Operation {
    return this.#database.write({ type: 'delete', collection, recordId, data: null })
  }

  /** Runs writes that share a transaction id. */
  transaction(write: (tx: DeviceTransaction) => void, mutationName?: string): void {
    const transaction: Transaction = { id: uuid(), ...(mutationName ? { mutationName } : {}) }
    write({
      insert: (collection, data, recordId = uuid()) => {
        this.#database.write({ type: 'insert', collection, recordId, data }, transaction)
        return recordId
      },
      update: (collection, recordId, data) => {
        this.#database.write({ type: 'update', collection, recordId, data }, transaction)
      },
      delete: (collection, recordId) => {
        this.#database.write({ type: 'delete', collection, recordId, data: null }, transaction)
      },
    })
  }

  /** The live records of the collection, by id. */
  records(collection: string): DeviceRecord[] {
    return this.#database.records(collection)
  }

  record(collection: string, recordId: string): DeviceRecord | null {
    return this.records(collection).find((record) => record.id === recordId) ?? null
  }

  /** The whole log, in the order in which operations came into it. */
  get operations(): readonly Operation[] {
    return this.#database.operations
  }

  has(operationId: string): boolean {
    return this.#database.has(operationId)
  }

  // ── the connection ─────────────────────────────────────────────────────────────────────────

  get state(): SyncState {
    return this.#sync.state
  }

  /** Delivery sequence up to which it has everything that it may see. */
  get watermark(): number {
    return this.#sync.watermark
  }

  /** Operations that are neither acknowledged nor refused. */
  get pendingCount(): number {
    return this.#sync.pendingCount
  }

  /** Connects; where it has given up, as an app does whose page is loaded anew. */
  goOnline(): void {
    this.#sync.connect()
  }

  /** @param isAbrupt true: the network is gone; false: the app disconnects */
  goOffline(isAbrupt = false): void {
    this.#sync.disconnect(isAbrupt)
  }

  setQueries(queries: readonly QuerySubset[]): void {
    this.#sync.setQueries(queries)
  }

  send(message: SyncMessage): void {
    this.#sync.send(message)
  }

  nextMessageId(): string {
    return this.#sync.nextMessageId()
  }

  /** Publishes what the user is doing; null withdraws it. */
  setPresence(state: AwarenessState | null): void {
    this.#presence = state
    if (this.state === 'streaming') this.#sendPresence()
  }

  // ── waiting ────────────────────────────────────────────────────────────────────────────────

  /** Resolves when the connection is past its first exchange. */
  streaming(timeoutMs = UNTIL_MS): Promise<void> {
    return this.until(() => this.state === 'streaming', 'it is streaming', timeoutMs)
  }

  /** Resolves when everything it made was acknowledged or refused. */
  synced(timeoutMs = UNTIL_MS): Promise<void> {
    return this.until(() => this.#sync.isSynced, 'everything is synced', timeoutMs)
  }

  /** Resolves when it holds the operation. */
  received(operationId: string, timeoutMs = UNTIL_MS): Promise<void> {
    return this.until(() => this.has(operationId), `operation ${operationId.slice(0, 8)} is here`, timeoutMs)
  }

  /**
   * Resolves when the condition holds.
   *
   * @throws Error with the tail of the journal after `timeoutMs`
   */
  until(isMet: () => boolean, what: string, timeoutMs = UNTIL_MS): Promise<void> {
    return this.#conditions.until(isMet, timeoutMs, () => {
      const { state, watermark, pendingCount } = this
      return (
        `Device ${this.journal.name} waited ${timeoutMs} ms until ${what}. It is ${state}, ` +
        `watermark ${watermark}, ${pendingCount} operations pending. Its journal ends with:\n${this.journal.tail()}`
      )
    })
  }

  /** Ends the connection and everything that could keep a process alive. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.goOffline()
  }

  close(): Promise<void> {
    return this[Symbol.asyncDispose]()
  }

  #onChange(): void {
    if (this.state === 'streaming' && this.#presence !== null && !this.#isPresencePublished)
      this.#sendPresence()
    if (this.state !== 'streaming') this.#isPresencePublished = false
    this.#conditions.changed()
  }

  #isPresencePublished = false

  #sendPresence(): void {
    this.#isPresencePublished = true
    this.#sync.send({
      type: 'awareness-update',
      messageId: this.nextMessageId(),
      clientId: OWN_PRESENCE_ID,
      states: { [OWN_PRESENCE_ID]: this.#presence },
    })
  }

  #onOtherMessage(message: SyncMessage): void {
    this.messages.push(message)
    if (message.type !== 'awareness-update') return
    for (const [clientId, state] of Object.entries(message.states)) {
      if (clientId === String(OWN_PRESENCE_ID)) continue // a client cannot see a peer with its own id
      if (state === null) this.peers.delete(clientId)
      else this.peers.set(clientId, state)
    }
  }
}

const OWN_PRESENCE_ID = 1 // the counter starts at 1 in every client process

export interface DeviceTransaction {
  insert(collection: string, data: FieldValues, recordId?: string): string
  update(collection: string, recordId: string, changes: FieldValues): void
  delete(collection: string, recordId: string): void
}
