import type { FieldValues } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'
import { encodeFrame } from '../../protocol/codec.ts'
import type { YjsDocUpdateMessage } from '../../protocol/messages.ts'
import { TokenBucket } from '../token-bucket.ts'
import type { Audiences, RelayPeer } from './audiences.ts'
import type { RecordValuesCache } from './record-values-cache.ts'

/** A person types ten characters a second; clients send each as an update. */
const MAX_UPDATES_PER_MINUTE = 6000
/** base64 characters; a larger change of a document reaches the others as an operation only. */
const MAX_UPDATE_LENGTH = 1024 * 1024

export interface RichtextRelayOptions {
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  /** Called with every update that its author may make, once it was passed on. */
  readonly onRichtextRelayed?: (author: RelayPeer, message: YjsDocUpdateMessage) => void
}

/**
 * Passes changes of large documents on to the sessions that may see the record, before the operation that makes
 * them durable. Nothing is stored and nothing is promised: whatever a full buffer or a limit drops arrives with the
 * operation.
 */
export class RichtextRelay {
  readonly #audiences: Audiences
  readonly #records: RecordValuesCache
  readonly #runtime: Pick<Runtime, 'monotonicNow'>
  readonly #onRelayed: RichtextRelayOptions['onRichtextRelayed']
  readonly #buckets = new WeakMap<RelayPeer, TokenBucket>()

  constructor(audiences: Audiences, records: RecordValuesCache, options: RichtextRelayOptions) {
    this.#audiences = audiences
    this.#records = records
    this.#runtime = options.runtime
    this.#onRelayed = options.onRichtextRelayed
  }

  receive(sender: RelayPeer, message: YjsDocUpdateMessage): Promise<void> | undefined {
    if (message.update.length > MAX_UPDATE_LENGTH || !this.#isWithinRate(sender)) return undefined
    const values = this.#dependsOnValues(sender) ? this.#records.peek(message) : {}
    if (values !== undefined) {
      this.#relay(sender, message, values)
      return undefined
    }
    // The next message waits: updates of one author arrive in the order in which they were made.
    return this.#records
      .read([message])
      .then(() => this.#relay(sender, message, this.#records.peek(message) ?? {}))
  }

  #relay(sender: RelayPeer, message: YjsDocUpdateMessage, values: FieldValues): void {
    const { collection } = message
    if (!sender.isAccepted || sender.identity?.access.mayWrite(collection, values) !== true) return
    const frame = encodeFrame(message, 'json')
    for (const audience of this.#audiences.seeing(collection, values)) {
      for (const peer of audience.members) {
        if (peer !== sender && peer.readsJson) peer.sendShared(frame)
      }
    }
    this.#onRelayed?.(sender, message)
  }

  #dependsOnValues({ identity }: RelayPeer): boolean {
    return this.#audiences.areSelective || identity === null || identity.access.dependsOnValues
  }

  #isWithinRate(sender: RelayPeer): boolean {
    const now = this.#runtime.monotonicNow()
    let bucket = this.#buckets.get(sender)
    if (bucket === undefined) {
      bucket = new TokenBucket(MAX_UPDATES_PER_MINUTE, now)
      this.#buckets.set(sender, bucket)
    }
    if (bucket.waitMs(1, now) > 0) return false
    bucket.take(1, now)
    return true
  }
}
