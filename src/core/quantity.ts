/**
 * Combines a count and a noun: (1, "record") → "1 record", (2000, "record") → "2000 records"
 *
 * @param format writes the number; default: digits alone
 */
export function quantityOf(count: number, noun: string, format: (count: number) => string = String): string {
  return `${format(count)} ${noun}${count === 1 ? '' : 's'}`
}
