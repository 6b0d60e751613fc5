import { encodeDeliveryFrame } from '../../protocol/codec.ts'
import type { Frame } from '../../protocol/frame.ts'
import type { WireFormat } from '../../protocol/messages.ts'
import type { DeliveredEntry } from '../../store/store.ts'
import type { SharedFrames } from '../feed/shared-frames.ts'
import { batchId } from './batches-in-flight.ts'
import { type KnownFields, wireJsonFor } from './known-fields.ts'

/** All that the bytes of a batch depend on. */
export interface DeliveryBatch {
  readonly entries: readonly DeliveredEntry[]
  /** The end of the previous batch. */
  readonly base: number
  /** The delivery sequence that it reaches. */
  readonly max: number
  readonly batchIndex: number
  readonly isFinal: boolean
  readonly format: WireFormat
  /** The fields that the client has columns for; null: unknown, so it is sent every field. */
  readonly knownFields: KnownFields | null
}

/**
 * The frame of one batch of a delivery stream.
 *
 * @param frames where it is found or kept, when other sessions are sent the same entries
 */
export function makeDeliveryFrame(batch: DeliveryBatch, frames: SharedFrames | null): Frame {
  const { knownFields } = batch
  const wholeKey = keyOfWhole(batch)
  const key = knownFields === null ? wholeKey : `${wholeKey} v${knownFields.version}`
  const found = frames?.get(key)
  if (found !== undefined) return found
  const wireJsons = batch.entries.map((entry) => wireJsonFor(entry, knownFields))
  const isWhole = batch.entries.every(({ wireJson }, index) => wireJson === wireJsons[index])
  const whole = isWhole ? frames?.get(wholeKey) : undefined
  const frame = whole ?? encode(batch, wireJsons)
  frames?.keep(key, frame)
  if (isWhole) frames?.keep(wholeKey, frame)
  return frame
}

/** The key of a frame from which no field is left out. */
function keyOfWhole({ entries, base, max, batchIndex, isFinal, format }: DeliveryBatch): string {
  // The first entry too: a session may have left out operations of its own between base and it, which
  // another session at the same base has yet to get.
  const first = entries[0]?.deliverySequence ?? max
  return `${format} ${base} ${first} ${max} ${batchIndex} ${isFinal}`
}

function encode({ base, max, batchIndex, isFinal, format }: DeliveryBatch, wireJsons: string[]): Frame {
  const header = {
    messageId: batchId(base, max),
    isFinal,
    batchIndex,
    baseDeliverySequence: base,
    maxDeliverySequence: max,
  }
  return encodeDeliveryFrame(header, wireJsons, format)
}
