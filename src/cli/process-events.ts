import type { ProcessEvents } from './command-context.ts'

/** The events of this process. */
export const processEvents: ProcessEvents = {
  onSignal(listener) {
    const onInterrupt = () => listener('SIGINT')
    const onTerminate = () => listener('SIGTERM')
    process.on('SIGINT', onInterrupt)
    process.on('SIGTERM', onTerminate)
    return () => {
      process.off('SIGINT', onInterrupt)
      process.off('SIGTERM', onTerminate)
    }
  },
  onUncaught(listener) {
    // A rejection that nobody handles arrives here as well: Node raises it as an uncaught exception.
    process.on('uncaughtException', listener)
    return () => process.off('uncaughtException', listener)
  },
  exitNow: (code) => process.exit(code),
}
