/** A day or a month, and perhaps a time of day; without a zone it is that of this machine, as with Date. */
const ISO_TIME =
  /^(\d{4}-\d{2}(?:-\d{2})?)(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?$/i
/** A zone of whole hours at the end of a time. The day of a date is not preceded by a ":". */
const HOURS_OF_ZONE = /(?<=:\S+[+-])\d{2}$/

/**
 * Parses a time in ISO 8601, also with a space for the T and with a zone of whole hours, as PostgreSQL prints it.
 * `Date.parse` alone accepts much more, and guesses the order of day and month, or finds a month behind any word.
 *
 * @returns ms since 1970; null for anything else, and for a day that its month does not have
 */
export function parseIsoTime(text: string): number | null {
  const date = ISO_TIME.exec(text)?.[1]
  if (date === undefined || !isOfCalendar(date)) return null
  const ms = Date.parse(text.replace(HOURS_OF_ZONE, '$&:00'))
  return Number.isNaN(ms) ? null : ms
}

/** False for the 31st of February, which Date would read as the 3rd of March. */
function isOfCalendar(date: string): boolean {
  const ms = Date.parse(date) // in UTC, because there is no time of day
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(date)
}
