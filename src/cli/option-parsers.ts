import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../config/duration.ts'
import { parseIsoTime } from './iso-time.ts'

/** Parser of a flag that may be repeated: collects all values, in order. */
export function collectValues(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value]
}

/** A whole number from 0. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(count)) return count
  throw new InvalidArgumentError('It must be a whole number from 0.')
}

/** A delivery sequence, or a time in ISO 8601. */
export type LogPosition = { readonly after: number } | { readonly writtenFrom: number }

/**
 * Parses a delivery sequence or a time.
 *
 * @throws InvalidArgumentError for any other text
 */
export function parseLogPosition(text: string): LogPosition {
  if (/^\d+$/.test(text)) return { after: parseCount(text) }
  const writtenFrom = parseIsoTime(text)
  if (writtenFrom !== null) return { writtenFrom }
  throw new InvalidArgumentError('Write a delivery sequence, or a time such as 2026-01-31T12:00:00Z.')
}

/** Parses an age, in ms. */
export function parseAge(text: string): number {
  const age = parseDuration(text)
  if (age !== null) return age
  throw new InvalidArgumentError('Write how long ago, such as 12h or 30d.')
}

/** Parses names separated by commas. */
export function parseNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim())
  if (names.every((name) => name !== '')) return names
  throw new InvalidArgumentError('Write names separated by commas, such as id,title.')
}
