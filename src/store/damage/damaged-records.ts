import { quantityOf } from '../../core/quantity.ts'
import type { RecordKey } from '../append/load.ts'
import { corrupt } from './corrupt.ts'

/** Records that could not be folded again, because what they follow from is damaged; they stay as they are. */
export class DamagedRecords {
  #count = 0
  #first: RecordKey | null = null

  add({ collection, recordId }: RecordKey): void {
    this.#count++
    this.#first ??= { collection, recordId }
  }

  /** @throws StoreError `STORE_CORRUPT` */
  throwIfAny(): void {
    if (this.#first === null) return
    const { collection, recordId } = this.#first
    throw corrupt(
      `${quantityOf(this.#count, 'record')} stayed as before, because rows of the log are damaged, ` +
        `the first being ${collection}/${recordId}; all others were rebuilt.`,
    )
  }
}
