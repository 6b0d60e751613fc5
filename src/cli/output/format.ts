import { quantityOf } from '../../core/quantity.ts'

// Created when a number is first printed: it takes 10 ms, which a start should not spend.
let numberFormat: Intl.NumberFormat | undefined

/** 12345 → "12,345" */
export function formatCount(count: number): string {
  numberFormat ??= new Intl.NumberFormat('en-US')
  return numberFormat.format(count)
}

/** (1, "record") → "1 record", (2, "record") → "2 records" */
export function formatQuantity(count: number, noun: string): string {
  return quantityOf(count, noun, formatCount)
}

/** 850 → "850 B", 12_300 → "12.3 kB", 4_500_000 → "4.5 MB" */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB']
  const exponent = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const value = bytes / 1000 ** exponent
  return `${exponent === 0 ? value : value.toFixed(1)} ${units[exponent]}`
}

/** 850 → "850 ms", 12_300 → "12.3 s", 75_000 → "1 min 15 s" */
export function formatElapsed(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}
