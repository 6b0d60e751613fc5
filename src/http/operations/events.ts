import type { ServerResponse } from 'node:http'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { LogEntry } from '../../store/store.ts'
import type { SyncHub } from '../../sync/hub.ts'

/** Most readers at once: each costs a message every second. */
const MAX_READERS = 20
/** Unread bytes above which a reader is dropped. */
const MAX_UNREAD_BYTES = 256 * 1024
const INTERVAL_MS = 1000
/** Entries of one interval that are listed; the others are only counted. */
const MAX_ENTRIES = 50

/**
 * Server-sent events, once a second:
 *
 *   event: status       sessions, queues, counters
 *   event: operations   what was committed since: where, by whom, never the values
 *   event: sample       rates and latencies, where there is a dashboard
 *
 * Readers, entries and unread bytes are bounded. Without readers it does nothing.
 */
export class OperationsEvents {
  readonly #hub: () => SyncHub
  readonly #runtime: Runtime
  readonly #readers = new Set<ServerResponse>()
  #entries: LogEntry[] = []
  #omitted = 0
  #endObserving: (() => void) | null = null
  #timer: Timer | null = null

  constructor(hub: () => SyncHub, runtime: Runtime) {
    this.#hub = hub
    this.#runtime = runtime
  }

  /** @returns false when there are enough readers already */
  add(response: ServerResponse): boolean {
    if (this.#readers.size >= MAX_READERS) return false
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no', // nginx would hold it back
    })
    this.#readers.add(response)
    response.on('close', () => this.#remove(response))
    response.on('error', () => this.#remove(response))
    if (this.#readers.size === 1) this.#begin()
    this.#send(response, statusEvent(this.#hub()))
    return true
  }

  /** Sends another event to all readers at once. */
  tell(name: string, data: object): void {
    if (this.#readers.size === 0) return
    const text = eventText(name, data)
    for (const response of [...this.#readers]) this.#send(response, text)
  }

  stop(): void {
    for (const response of [...this.#readers]) {
      response.end()
      this.#remove(response)
    }
  }

  #begin(): void {
    this.#endObserving = this.#hub().observe((entries) => this.#note(entries))
    this.#schedule()
  }

  #remove(response: ServerResponse): void {
    if (!this.#readers.delete(response) || this.#readers.size > 0) return
    this.#endObserving?.()
    this.#timer?.cancel()
    this.#entries = []
    this.#omitted = 0
  }

  #note(entries: readonly LogEntry[]): void {
    const room = MAX_ENTRIES - this.#entries.length
    this.#entries.push(...entries.slice(0, room))
    this.#omitted += Math.max(0, entries.length - room)
  }

  #schedule(): void {
    this.#timer = this.#runtime.setTimer(INTERVAL_MS, () => {
      this.#tell()
      if (this.#readers.size > 0) this.#schedule()
    })
  }

  #tell(): void {
    const operations = this.#entries.length > 0 ? operationsEvent(this.#entries, this.#omitted) : ''
    const text = operations + statusEvent(this.#hub())
    this.#entries = []
    this.#omitted = 0
    for (const response of [...this.#readers]) this.#send(response, text)
  }

  #send(response: ServerResponse, text: string): void {
    if (response.writableLength > MAX_UNREAD_BYTES) {
      response.destroy() // it reads more slowly than a message a second
      this.#remove(response)
      return
    }
    response.write(text)
  }
}

function statusEvent(hub: SyncHub): string {
  const { stats, sessions, feed, ingest, views } = hub
  return eventText('status', {
    connectedClients: sessions.size,
    connectionsTotal: stats.connectionsTotal,
    operationsReceived: stats.operationsReceived,
    operationsSent: stats.operationsSent,
    errorCount: stats.errorCount,
    deliverySequence: feed.head,
    queuedBytes: ingest.queuedBytes,
    views: views.size,
  })
}

function operationsEvent(entries: readonly LogEntry[], omitted: number): string {
  return eventText('operations', {
    omitted,
    entries: entries.map(({ deliverySequence, kind, collection, recordId, nodeId }) => ({
      deliverySequence,
      kind,
      collection,
      recordId,
      nodeId,
    })),
  })
}

function eventText(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
}
