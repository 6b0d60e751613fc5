import type { Runtime, Timer } from '../../core/runtime.ts'

const MAX_TIMER_MS = 2 ** 31 - 1

/** A timer of any length: those of the platform count up to 2^31 ms, so it is set again until then. */
export function setLongTimer(
  runtime: Pick<Runtime, 'setTimer'>,
  delayMs: number,
  callback: () => void,
): Timer {
  if (delayMs <= MAX_TIMER_MS) return runtime.setTimer(delayMs, callback)
  let timer = runtime.setTimer(MAX_TIMER_MS, () => {
    timer = setLongTimer(runtime, delayMs - MAX_TIMER_MS, callback)
  })
  return { cancel: () => timer.cancel() }
}
