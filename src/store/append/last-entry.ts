import type { AppendResult, LogEntry } from '../store.ts'

/** The last entry that was added; undefined where none was. */
export function lastEntryOf(results: readonly AppendResult[]): LogEntry | undefined {
  for (let index = results.length - 1; index >= 0; index--) {
    const result = results[index]
    if (result?.status === 'applied') return result.entries.at(-1)
  }
  return undefined
}
