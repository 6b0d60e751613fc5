import type { ProcessEvents } from './command-context.ts'
import { SIGNAL_EXIT_CODES } from './signals.ts'

type Signal = keyof typeof SIGNAL_EXIT_CODES

/**
 * The events of this process. Signals are listened to from here on, without a gap: one that came
 * while listeners change would be lost, and the first process of a container ignores those that
 * nobody listens to. While no command has a listener, a signal ends the process.
 */
export function listenToProcess(): ProcessEvents {
  const listeners = new Set<(signal: Signal) => void>()
  const exitNow = (code: number): void => process.exit(code)
  const dispatch = (signal: Signal): void => {
    if (listeners.size === 0) exitNow(SIGNAL_EXIT_CODES[signal])
    for (const listener of [...listeners]) listener(signal)
  }
  process.on('SIGINT', dispatch)
  process.on('SIGTERM', dispatch)
  return {
    onSignal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    yieldSignals() {
      if (process.pid === 1) return
      // What has come together with the one that is being handled is still told to the listeners.
      setImmediate(() => {
        process.off('SIGINT', dispatch)
        process.off('SIGTERM', dispatch)
      })
    },
    onUncaught(listener) {
      // A rejection that nobody handles arrives here as well: Node raises it as an uncaught exception.
      process.on('uncaughtException', listener)
      return () => process.off('uncaughtException', listener)
    },
    exitNow,
  }
}
