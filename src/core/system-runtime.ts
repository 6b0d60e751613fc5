import { randomBytes } from 'node:crypto'
import type { Runtime } from './runtime.ts'
import { uuidText } from './uuid-text.ts'

/** The real clock, timers and randomness. Created once, by the program or by a library factory. */
export function systemRuntime(): Runtime {
  return {
    now: () => Date.now(),
    monotonicNow: () => performance.now(),
    setTimer(delayMs, callback, { isAwaited = false } = {}) {
      const timeout = setTimeout(callback, delayMs)
      if (!isAwaited) timeout.unref()
      return { cancel: () => clearTimeout(timeout) }
    },
    defer: (callback) => void setImmediate(callback),
    uuid: () => uuidV7(Date.now()),
    token: (byteLength) => randomBytes(byteLength).toString('base64url'),
  }
}

/** @see RFC 9562, section 5.7 */
function uuidV7(nowMs: number): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(nowMs, 0, 6)
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f)
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f)
  return uuidText(bytes)
}
