import type { Operation } from '../../../src/core/operation.ts'

/** What became of one delivered batch. @see docs/protocol.md, "Delivery" */
export type DeliveryOutcome =
  /** It continued the stream and was applied. */
  | 'applied'
  /** It starts above the watermark: ignored, not acknowledged. */
  | 'gap'
  /** It starts below the watermark: acknowledged again, not applied. */
  | 'stale'
  /** An operation of it cannot be applied: not acknowledged, the watermark stays. */
  | 'blocked'
  /** A batch without delivery numbers, for devices that know none. */
  | 'legacy'

/** In which order a batch was sent: what a device without watermark lacked is sorted by causes. Protobuf does not tell that. */
export type DeliveryOrder = 'by-delivery' | 'by-causes' | 'unknown'

export interface Delivery {
  readonly kind: 'delivery'
  readonly outcome: DeliveryOutcome
  /** null in a legacy batch */
  readonly base: number | null
  readonly max: number | null
  readonly order: DeliveryOrder
  readonly operationIds: readonly string[]
  /** Those that the device's own scope or subsets filtered out. */
  readonly droppedIds: readonly string[]
  /** Those that the server has written to bring a record into its view, filtered out or not. */
  readonly snapshots: readonly Operation[]
  readonly detail?: string
}

export type JournalEvent =
  | { readonly kind: 'connection'; readonly state: string; readonly detail?: string }
  | { readonly kind: 'authored'; readonly operation: Operation }
  | { readonly kind: 'sent'; readonly messageId: string; readonly operationIds: readonly string[] }
  | { readonly kind: 'acknowledged'; readonly messageId: string; readonly operationIds: readonly string[] }
  | {
      readonly kind: 'refused'
      readonly operationId: string
      readonly code: string
      readonly message: string
      readonly retriable: boolean
    }
  | Delivery
  | { readonly kind: 'resync'; readonly from: number }
  | { readonly kind: 'error'; readonly code: string; readonly message: string; readonly retriable: boolean }
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string }

export type JournalEntry = JournalEvent & {
  /** ms since the epoch */
  readonly at: number
}

/** Everything one device did and was told, in order: what a checker reads, and what a failing test prints. */
export class Journal {
  readonly name: string
  readonly entries: JournalEntry[] = []
  readonly acknowledgedIds = new Set<string>()
  readonly refusals = new Map<string, { code: string; message: string; retriable: boolean }>()

  readonly #now: () => number

  constructor(name: string, now: () => number = Date.now) {
    this.name = name
    this.#now = now
  }

  record(event: JournalEvent): void {
    this.entries.push({ ...event, at: this.#now() })
    if (event.kind === 'refused') this.refusals.set(event.operationId, event)
    if (event.kind === 'acknowledged') {
      for (const id of event.operationIds) if (!this.refusals.has(id)) this.acknowledgedIds.add(id)
    }
  }

  of<Kind extends JournalEvent['kind']>(kind: Kind): Extract<JournalEntry, { kind: Kind }>[] {
    return this.entries.filter((entry) => entry.kind === kind) as Extract<JournalEntry, { kind: Kind }>[]
  }

  /** The last `count` entries, one per line, with the time since the first. */
  tail(count = 20): string {
    const startedAt = this.entries[0]?.at ?? 0
    return this.entries
      .slice(-count)
      .map((entry) => `  ${String(entry.at - startedAt).padStart(6)} ms  ${describe(entry)}`)
      .join('\n')
  }
}

function describe(entry: JournalEntry): string {
  switch (entry.kind) {
    case 'connection':
      return `${entry.state}${entry.detail ? `: ${entry.detail}` : ''}`
    case 'authored': {
      const { type, collection, recordId, sequenceNumber } = entry.operation
      return `authored #${sequenceNumber} ${type} ${collection}/${recordId}`
    }
    case 'sent':
      return `sent ${entry.operationIds.length} operations as ${entry.messageId}`
    case 'acknowledged':
      return `acknowledged ${entry.messageId} (${entry.operationIds.length} operations)`
    case 'refused':
      return `refused ${entry.operationId.slice(0, 8)}: ${entry.code} ${entry.message}`
    case 'delivery':
      return (
        `${entry.outcome} ${entry.base ?? '-'}..${entry.max ?? '-'}: ${entry.operationIds.length} operations, ` +
        `${entry.droppedIds.length} out of scope${entry.detail ? `, ${entry.detail}` : ''}`
      )
    case 'resync':
      return `starting over from 0 (was at ${entry.from})`
    case 'error':
      return `error ${entry.code}: ${entry.message}`
    case 'closed':
      return `closed with ${entry.code} ${entry.reason}`
  }
}
