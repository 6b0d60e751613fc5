import type { SyncMessage } from '../../src/protocol/messages.ts'
import { RelayClient } from './relay-server.ts'
import type { SimulatedRuntime } from './simulated-runtime.ts'

const TICK_MS = 50

/** A client that reads all the time, behind a network of so many bytes a second. */
export class SlowClient extends RelayClient {
  /** What has come through the network, of what was sent. */
  readonly arrived: SyncMessage[] = []
  readonly #waiting: { readonly message: SyncMessage; readonly bytes: number }[] = []
  #waitingBytes = 0

  constructor(runtime: SimulatedRuntime, bytesPerSecond: number) {
    super()
    const tick = (): void => {
      this.#take((bytesPerSecond * TICK_MS) / 1000)
      runtime.setTimer(TICK_MS, tick)
    }
    tick()
  }

  override send(message: SyncMessage): void {
    super.send(message)
    const bytes = Buffer.byteLength(JSON.stringify(message))
    this.#waiting.push({ message, bytes })
    this.#waitingBytes += bytes
    this.bufferedBytes += bytes
  }

  #take(bytes: number): void {
    this.bufferedBytes = Math.max(0, this.bufferedBytes - bytes)
    let next = this.#waiting[0]
    while (next !== undefined && this.#waitingBytes - next.bytes >= this.bufferedBytes) {
      this.#waitingBytes -= next.bytes
      this.arrived.push(next.message)
      this.#waiting.shift()
      next = this.#waiting[0]
    }
  }
}
