import type { Operation } from '../../core/operation.ts'
import type { RecordKey } from '../append/load.ts'
import { RecordMap } from '../append/record-map.ts'
import { type DroppedOperation, type ListedDropped, toTrace } from '../compaction/compaction.ts'

/** What is known of operations that the log in memory no longer holds. */
export class MemoryDropped {
  readonly #all: DroppedOperation[] = []
  readonly #byId = new Map<string, DroppedOperation>()
  readonly #byRecord = new RecordMap<DroppedOperation[]>()

  get count(): number {
    return this.#all.length
  }

  sequenceOf(operationId: string): number | undefined {
    return this.#byId.get(operationId)?.sequenceNumber
  }

  /** Those that still say something of their record. */
  of(key: RecordKey): readonly DroppedOperation[] {
    return this.#byRecord.get(key) ?? []
  }

  tracesOf(key: RecordKey): Operation[] {
    return this.of(key).map(toTrace)
  }

  /** @returns false when it is known already */
  add(dropped: DroppedOperation): boolean {
    if (this.#byId.has(dropped.operationId)) return false
    this.#all.push(dropped)
    this.#byId.set(dropped.operationId, dropped)
    if (dropped.isPurged) return true
    const ofRecord = this.#byRecord.get(dropped)
    if (ofRecord === undefined) this.#byRecord.set(dropped, [dropped])
    else ofRecord.push(dropped)
    return true
  }

  /**
   * Passes over what was dropped of a record that is now forgotten: it says nothing of the record any more.
   */
  purge(key: RecordKey): void {
    this.#byRecord.delete(key)
  }

  list(after: number, limit: number): ListedDropped[] {
    return this.#all.slice(after, after + limit).map((dropped, index) => ({
      ...dropped,
      isPurged: !this.of(dropped).includes(dropped),
      position: after + index + 1,
    }))
  }
}
