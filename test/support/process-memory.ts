import { readFileSync, writeFileSync } from 'node:fs'

/** What a process holds in memory, as Linux counts it. */
export interface ProcessMemory {
  readonly rssBytes: number
  /** The most since its start, or since `forgetPeak`. */
  readonly peakBytes: number
}

export function memoryOf(pid: number): ProcessMemory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const bytesOf = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { rssBytes: bytesOf('VmRSS'), peakBytes: bytesOf('VmHWM') }
}

/** From now on the peak is that of what follows. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5') // proc(5): resets VmHWM to the present size
}

/** @returns bytes rounded to MiB, for figures */
export function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
