import type { Runtime, Timer } from '../../core/runtime.ts'

const MAX_TIMER_MS = 2 ** 31 - 1

/** Sets a timer of any length. Those of the platform reach 2^31 ms, so a longer one is set in steps. */
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
