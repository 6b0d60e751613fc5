import { canonicalJson } from '../../../src/core/canonical-json.ts'
import { type FieldValues, isSnapshot, type Operation } from '../../../src/core/operation.ts'
import type { Runtime, Timer } from '../../../src/core/runtime.ts'
import { matchesScope, type QuerySubset, type ScopeMap } from '../../../src/core/scope.ts'
import type {
  AcknowledgmentMessage,
  ErrorMessage,
  HandshakeMessage,
  HandshakeResponseMessage,
  OperationBatchMessage,
  OperationRejectedMessage,
  SyncMessage,
  WireFormat,
} from '../../../src/protocol/messages.ts'
import { decodeServerMessage, encodeClientMessage } from './codec.ts'
import type { DeviceDatabase } from './database.ts'
import type { DeliveryOrder, DeliveryOutcome, Journal } from './journal.ts'
import type { ConnectSocket, DeviceSocket } from './socket.ts'

const SERVER_CLOCK_BEHIND_MS = 60_000 // further behind, clients refuse to sync (protocol, "serverTime")
const RECONNECT_MAX_MS = 1_000 // stock clients go up to 30 s; a test has no time for that

export type SyncState =
  | 'offline'
  | 'connecting'
  | 'handshaking'
  | 'syncing'
  | 'streaming'
  /** Gave up until somebody acts: schema mismatch, a clock that is wrong, or an `error` over polling. */
  | 'blocked'

export interface SyncOptions {
  readonly url: string
  readonly token: () => string | null
  readonly scope: ScopeMap | null
  readonly queries: readonly QuerySubset[]
  readonly schemaVersion: number
  readonly isLegacy: boolean
  readonly wireFormat: WireFormat
  /** The polling transport of the stock clients does, until its page is loaded anew. */
  readonly staysAwayAfter: (error: ErrorMessage) => boolean
  readonly batchSize: number
  /** Batches in flight; stock clients have one. */
  readonly pipelineDepth: number
  readonly ackTimeoutMs: number
  readonly reconnectMs: number
  readonly now: () => number
  readonly setTimer: Runtime['setTimer']
  readonly connect: ConnectSocket
}

/**
 * The client's half of the sync protocol.
 *
 *     offline → connecting → handshaking → syncing → streaming
 *        ↑ ─────────── close, error, timeout ────────────┘
 *
 * On the response it sends what the server's vector lacks, all at once; it streams once that is
 * sent and a final batch of the server has been applied.
 */
export class DeviceSync {
  readonly #options: SyncOptions
  readonly #database: DeviceDatabase
  readonly #journal: Journal
  readonly #changed: () => void
  readonly #watermarks = new Map<string, number>()
  readonly #inFlight = new Map<string, readonly Operation[]>()
  readonly #ackTimers = new Map<string, Timer>()
  /**
   * Every batch of this connection that has not been acknowledged by its name. Only a test wants to know: clients
   * wait for none of the delta, and take any acknowledgment for that of the batch in flight.
   */
  readonly #unanswered = new Map<string, readonly Operation[]>()
  #queue: Operation[] = []
  #state: SyncState = 'offline'
  #socket: DeviceSocket | null = null
  #leftOpen = new Set<DeviceSocket>()
  #wantsOnline = false
  #reconnectTimer: Timer | undefined
  #failures = 0
  #activeScope: ScopeMap | null
  #queries: readonly QuerySubset[]
  #deltaCursor: string | undefined
  #isDeltaSent = false
  #hasFinalBatch = false
  #messageCount = 0
  /** Called with every message that is not about operations: presence, documents, blobs. */
  onOtherMessage: (message: SyncMessage) => void = () => {}

  constructor(options: SyncOptions, database: DeviceDatabase, journal: Journal, changed: () => void) {
    this.#options = options
    this.#database = database
    this.#journal = journal
    this.#changed = changed
    this.#activeScope = options.scope
    this.#queries = options.queries
  }

  get state(): SyncState {
    return this.#state
  }

  /** True when everything authored was acknowledged or refused, and the server's first stream is in. */
  get isSynced(): boolean {
    return (
      this.#state === 'streaming' &&
      this.#queue.length === 0 &&
      this.#inFlight.size === 0 &&
      this.#unanswered.size === 0
    )
  }

  get pendingCount(): number {
    return this.#queue.length + countOperations(this.#unanswered)
  }

  /** The delivery watermark of the present view. */
  get watermark(): number {
    return this.#watermarks.get(this.#viewKey()) ?? 0
  }

  enqueue(operation: Operation): void {
    this.#queue.push(operation)
    this.#pushQueued()
  }

  connect(): void {
    this.#wantsOnline = true
    this.#reconnectTimer?.cancel()
    if (this.#state === 'offline' || this.#state === 'blocked') this.#open()
  }

  /** @param isAbrupt the network goes, instead of a goodbye */
  disconnect(isAbrupt = false): void {
    this.#wantsOnline = false
    this.#reconnectTimer?.cancel()
    const socket = this.#socket
    this.#leave('offline', 'by the application')
    if (isAbrupt) socket?.terminate()
    else socket?.close(1000, 'Client disconnecting')
    for (const open of this.#leftOpen) open.terminate()
    this.#leftOpen.clear()
  }

  /** Registers other live queries: a client comes back on a new connection. */
  setQueries(queries: readonly QuerySubset[]): void {
    this.#queries = queries
    if (!this.#wantsOnline) return
    this.disconnect()
    this.connect()
  }

  send(message: SyncMessage): void {
    this.#socket?.send(encodeClientMessage(message, this.#options.wireFormat))
  }

  nextMessageId(): string {
    return `msg-${this.#options.now()}-${this.#messageCount++}`
  }

  // ── the connection ─────────────────────────────────────────────────────────────────────────

  #open(): void {
    this.#enter('connecting')
    const socket = this.#options.connect(this.#options.url, this.#options.token(), {
      onOpen: () => {
        if (socket === this.#socket) this.#sendHandshake()
      },
      onMessage: (data) => {
        if (socket === this.#socket) this.#receive(data)
      },
      onClose: (code, reason) => {
        this.#journal.record({ kind: 'closed', code, reason })
        this.#leftOpen.delete(socket)
        if (socket === this.#socket) this.#lose(`closed with ${code} ${reason}`)
      },
    })
    this.#socket = socket
  }

  #sendHandshake(): void {
    const token = this.#options.token()
    const handshake: HandshakeMessage = {
      type: 'handshake',
      messageId: this.nextMessageId(),
      nodeId: this.#database.nodeId,
      versionVector: this.#database.versionVector,
      schemaVersion: this.#options.schemaVersion,
      ...(token === null ? {} : { authToken: token }),
      supportedWireFormats: ['json', 'protobuf'],
      ...(this.#options.scope === null ? {} : { syncScope: this.#options.scope }),
      ...(this.#queries.length > 0 ? { syncQueries: this.#queries } : {}),
      ...(this.#deltaCursor === undefined ? {} : { deltaCursor: this.#deltaCursor }),
      ...(this.#options.isLegacy ? {} : { lastDeliverySequence: this.watermark }),
    }
    this.#enter('handshaking')
    this.send(handshake)
  }

  #lose(why: string): void {
    this.#leave('offline', why)
    if (!this.#wantsOnline) return
    const delayMs = Math.min(RECONNECT_MAX_MS, this.#options.reconnectMs * 2 ** this.#failures++)
    this.#reconnectTimer?.cancel()
    this.#reconnectTimer = this.#options.setTimer(delayMs, () => this.#open())
  }

  /** Drops the connection from the device's point of view; what was in flight goes back to the queue. */
  #leave(state: SyncState, why: string): void {
    this.#socket = null
    for (const timer of this.#ackTimers.values()) timer.cancel()
    this.#ackTimers.clear()
    this.#queue = [...[...this.#inFlight.values()].flat(), ...this.#queue]
    this.#inFlight.clear()
    this.#unanswered.clear()
    this.#isDeltaSent = false
    this.#hasFinalBatch = false
    this.#enter(state, why)
  }

  #enter(state: SyncState, detail?: string): void {
    if (this.#state === state) return
    this.#state = state
    this.#journal.record({ kind: 'connection', state, ...(detail ? { detail } : {}) })
    this.#changed()
  }

  // ── receiving ──────────────────────────────────────────────────────────────────────────────

  #receive(data: string | Uint8Array): void {
    let message: SyncMessage
    try {
      message = decodeServerMessage(data)
    } catch (error) {
      this.#leaveSocketOpen(`undecodable frame: ${(error as Error).message}`)
      return
    }
    this.#handle(message)
    this.#changed()
  }

  #handle(message: SyncMessage): void {
    switch (message.type) {
      case 'handshake-response':
        this.#onResponse(message)
        break
      case 'operation-batch':
        this.#onBatch(message)
        break
      case 'acknowledgment':
        this.#onAcknowledgment(message)
        break
      case 'operation-rejected':
        this.#onRejected(message)
        break
      case 'error':
        this.#onError(message)
        break
      default:
        this.onOtherMessage(message)
    }
  }

  #onResponse(response: HandshakeResponseMessage): void {
    const skewMs = response.serverTime === undefined ? 0 : response.serverTime - this.#options.now()
    if (skewMs < -SERVER_CLOCK_BEHIND_MS) this.#block(`clock-error: ${-skewMs} ms ahead of the server`)
    else if (response.accepted) this.#onAccepted(response)
    else this.#onNotAccepted(response.rejectReason ?? 'no reason')
  }

  #onNotAccepted(reason: string): void {
    if (reason.startsWith('SCHEMA_MISMATCH')) this.#block(reason)
    else this.#leaveSocketOpen(`not accepted: ${reason}`)
  }

  #onAccepted(response: HandshakeResponseMessage): void {
    if (response.acceptedScope !== undefined) this.#activeScope = response.acceptedScope
    const serverMax = response.serverMaxDeliverySequence
    if (serverMax !== undefined && this.watermark > serverMax) {
      this.#journal.record({ kind: 'resync', from: this.watermark })
      this.#watermarks.set(this.#viewKey(), 0)
    }
    this.#failures = 0
    this.#enter('syncing')
    if (response.serverTime !== undefined) this.#restampFuture(response.serverTime)
    this.#sendDelta(response.versionVector)
    this.#streamWhenReady()
  }

  /** After a clock correction: what is stamped too far ahead is made again. */
  #restampFuture(serverTimeMs: number): void {
    this.#queue = this.#queue.map((operation) =>
      operation.timestamp.wallTime > serverTimeMs + SERVER_CLOCK_BEHIND_MS
        ? this.#database.restamp(operation)
        : operation,
    )
  }

  #sendDelta(serverVector: { readonly [nodeId: string]: number }): void {
    const missing = this.#database
      .operationsAbove(serverVector)
      .filter((operation) => this.#isInView(operation))
    const { batchSize } = this.#options
    const totalBatches = Math.max(1, Math.ceil(missing.length / batchSize))
    for (let batchIndex = 0; batchIndex < totalBatches; batchIndex++) {
      const operations = missing.slice(batchIndex * batchSize, (batchIndex + 1) * batchSize)
      const last = operations.at(-1)
      const messageId = this.nextMessageId()
      this.#recordSent(messageId, operations)
      this.send({
        type: 'operation-batch',
        messageId,
        operations,
        isFinal: batchIndex === totalBatches - 1,
        batchIndex,
        totalBatches,
        ...(last ? { cursor: encodeCursor(last.id, batchIndex) } : {}),
      })
    }
    const sentIds = new Set(missing.map((operation) => operation.id))
    this.#queue = this.#queue.filter((operation) => !sentIds.has(operation.id))
    this.#isDeltaSent = true
  }

  #onBatch(batch: OperationBatchMessage): void {
    const base = batch.maxDeliverySequence === undefined ? this.watermark : (batch.baseDeliverySequence ?? 0)
    if (base > this.watermark) this.#recordDelivery('gap', batch, [])
    else if (base === this.watermark) this.#applyBatch(batch)
    else {
      this.#recordDelivery('stale', batch, [])
      this.#acknowledge(batch, 0, this.watermark)
    }
  }

  #applyBatch(batch: OperationBatchMessage): void {
    const max = batch.maxDeliverySequence ?? null
    // Each operation is judged by itself, before any of its batch is applied.
    const visible = batch.operations.filter((operation) => this.#isInView(operation))
    const visibleIds = new Set(visible.map((operation) => operation.id))
    const dropped = batch.operations.filter((operation) => !visibleIds.has(operation.id))
    const failures = visible.flatMap((operation) => this.#apply(operation))
    if (failures.length > 0) {
      this.#recordDelivery('blocked', batch, dropped, failures.join('; '))
      return
    }
    if (max !== null) this.#watermarks.set(this.#viewKey(), max)
    this.#deltaCursor = max === null && !batch.isFinal ? batch.cursor : undefined
    this.#recordDelivery(max === null ? 'legacy' : 'applied', batch, dropped)
    this.#acknowledge(batch, batch.operations.at(-1)?.sequenceNumber ?? 0, max)
    if (batch.isFinal) this.#hasFinalBatch = true
    this.#streamWhenReady()
  }

  #apply(operation: Operation): string[] {
    try {
      this.#database.receive(operation)
      return []
    } catch (error) {
      return [`${operation.id.slice(0, 8)}: ${(error as Error).message}`]
    }
  }

  #recordDelivery(
    outcome: DeliveryOutcome,
    batch: OperationBatchMessage,
    dropped: readonly Operation[],
    detail?: string,
  ): void {
    this.#journal.record({
      kind: 'delivery',
      outcome,
      base: batch.maxDeliverySequence === undefined ? null : (batch.baseDeliverySequence ?? 0),
      max: batch.maxDeliverySequence ?? null,
      order: this.#orderOf(batch),
      operationIds: batch.operations.map((operation) => operation.id),
      droppedIds: dropped.map((operation) => operation.id),
      snapshots: batch.operations.filter(isSnapshot),
      ...(detail ? { detail } : {}),
    })
  }

  #orderOf({ maxDeliverySequence, totalBatches }: OperationBatchMessage): DeliveryOrder {
    if (maxDeliverySequence !== undefined) return 'by-delivery'
    if (this.#options.wireFormat === 'protobuf') return 'unknown'
    return totalBatches === undefined ? 'by-delivery' : 'by-causes'
  }

  #acknowledge(
    batch: OperationBatchMessage,
    lastSequenceNumber: number,
    deliverySequence: number | null,
  ): void {
    this.send({
      type: 'acknowledgment',
      messageId: this.nextMessageId(),
      acknowledgedMessageId: batch.messageId,
      lastSequenceNumber,
      ...(deliverySequence === null ? {} : { deliverySequence }),
    })
  }

  #onAcknowledgment({ acknowledgedMessageId }: AcknowledgmentMessage): void {
    this.#recordAcknowledged(acknowledgedMessageId)
    // With one batch in flight, any acknowledgment clears it, whatever it names: that of the delta, too.
    const messageId =
      this.#options.pipelineDepth === 1 ? [...this.#inFlight.keys()][0] : acknowledgedMessageId
    if (messageId === undefined || !this.#inFlight.delete(messageId)) return
    this.#ackTimers.get(messageId)?.cancel()
    this.#ackTimers.delete(messageId)
    this.#pushQueued()
  }

  /** What the server has said, whatever the client makes of it. */
  #recordAcknowledged(messageId: string): void {
    const operations = this.#unanswered.get(messageId)
    if (operations === undefined) return
    this.#unanswered.delete(messageId)
    this.#journal.record({
      kind: 'acknowledged',
      messageId,
      operationIds: operations.map((operation) => operation.id),
    })
  }

  #onRejected({ operationId, code, message, retriable }: OperationRejectedMessage): void {
    this.#journal.record({ kind: 'refused', operationId, code, message, retriable })
    const isOther = (operation: Operation): boolean => operation.id !== operationId
    this.#queue = this.#queue.filter(isOther)
    for (const sent of [this.#inFlight, this.#unanswered]) {
      for (const [messageId, operations] of sent) sent.set(messageId, operations.filter(isOther))
    }
  }

  #onError(error: ErrorMessage): void {
    const { code, message, retriable } = error
    this.#journal.record({ kind: 'error', code, message, retriable })
    const why = `error ${code}: ${message}`
    if (this.#options.staysAwayAfter(error)) this.#block(why)
    else this.#leaveSocketOpen(why)
  }

  /** Stock clients forget a connection that failed without closing it: the server has to. */
  #leaveSocketOpen(why: string): void {
    if (this.#socket) this.#leftOpen.add(this.#socket)
    this.#lose(why)
  }

  #block(why: string): void {
    const socket = this.#socket
    this.#leave('blocked', why)
    socket?.close()
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────

  #streamWhenReady(): void {
    if (this.#state !== 'syncing' || !this.#isDeltaSent || !this.#hasFinalBatch) return
    this.#enter('streaming')
    this.#pushQueued()
  }

  #pushQueued(): void {
    while (this.#state === 'streaming' && this.#inFlight.size < this.#options.pipelineDepth) {
      this.#queue = this.#queue.filter((operation) => this.#isInView(operation))
      const operations = this.#queue.splice(0, this.#options.batchSize)
      if (operations.length === 0) return
      this.#sendBatch(operations)
    }
  }

  #sendBatch(operations: readonly Operation[]): void {
    const messageId = this.nextMessageId()
    this.#inFlight.set(messageId, operations)
    this.#ackTimers.set(
      messageId,
      this.#options.setTimer(this.#options.ackTimeoutMs, () => {
        this.#socket?.close()
        this.#lose(`no acknowledgment of ${messageId} in ${this.#options.ackTimeoutMs} ms`)
      }),
    )
    this.#recordSent(messageId, operations)
    this.send({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
  }

  #recordSent(messageId: string, operations: readonly Operation[]): void {
    this.#unanswered.set(messageId, operations)
    this.#journal.record({
      kind: 'sent',
      messageId,
      operationIds: operations.map((operation) => operation.id),
    })
  }

  // ── the view ───────────────────────────────────────────────────────────────────────────────

  #viewKey(): string {
    return canonicalJson({ scope: this.#activeScope, queries: this.#queries })
  }

  /** Whether an operation matches the scope and the live queries, seen with the local row before it. */
  #isInView(operation: Operation): boolean {
    const row = this.#database.row(operation.collection, operation.recordId)
    if (this.#activeScope === null && this.#queries.length === 0) return true
    const snapshot: FieldValues = { ...row?.values, ...operation.previousData, ...operation.data }
    if (!matchesScope(snapshot, operation.collection, this.#activeScope)) return false
    const subsets = this.#queries.filter((query) => query.collection === operation.collection)
    return (
      subsets.length === 0 ||
      subsets.some((query) => matchesScope(snapshot, query.collection, { [query.collection]: query.where }))
    )
  }
}

function encodeCursor(lastOperationId: string, batchIndex: number): string {
  return Buffer.from(JSON.stringify({ lastOperationId, batchIndex })).toString('base64url')
}

function countOperations(batches: ReadonlyMap<string, readonly Operation[]>): number {
  return [...batches.values()].reduce((sum, operations) => sum + operations.length, 0)
}
