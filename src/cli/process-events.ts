import type { ProcessEvents } from './command-context.ts'
import { SIGNAL_EXIT_CODES } from './signals.ts'

type Signal = keyof typeof SIGNAL_EXIT_CODES

/**
 * Subscribes to the events of this process. Signals are listened to from here on without a gap: one that came
 * between two listeners would be lost, because the first process of a container ignores signals without a listener.
 * While no command has a listener, a signal ends the process.
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
      // Signals that came together with the present one still reach the listeners.
      setImmediate(() => {
        process.off('SIGINT', dispatch)
        process.off('SIGTERM', dispatch)
      })
    },
    onUncaught(listener) {
      // Includes unhandled rejections, which Node raises as uncaught exceptions.
      process.on('uncaughtException', listener)
      return () => process.off('uncaughtException', listener)
    },
    exitNow,
  }
}
