import { InvalidArgumentError } from 'commander'

/** For flags that may be repeated: every value, in order. */
export function collectValues(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value]
}

/** A whole number from 0. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(count)) return count
  throw new InvalidArgumentError('It must be a whole number from 0.')
}

/** Names separated by commas. */
export function parseNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim())
  if (names.every((name) => name !== '')) return names
  throw new InvalidArgumentError('Write names separated by commas, such as id,title.')
}
