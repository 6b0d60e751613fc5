import type { Operation } from '../../core/operation.ts'
import type { RecordKey } from '../append/load.ts'
import { RecordMap } from '../append/record-map.ts'
import { type DroppedOperation, type ListedDropped, toTrace } from '../compaction/compaction.ts'

/** Notes of operations that the log in memory no longer has. */
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

  /** Notes that still matter to their record. */
  of(key: RecordKey): readonly DroppedOperation[] {
    return this.#byRecord.get(key) ?? []
  }

  tracesOf(key: RecordKey): Operation[] {
    return this.of(key).map(toTrace)
  }

  /** @returns false when it is already known */
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

  /** Ignores the notes of a record that is purged now, because they no longer matter to it. */
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
