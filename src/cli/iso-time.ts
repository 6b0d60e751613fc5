/** A day or a month, and the time of day; without a zone that of this machine, as Date has it. */
const ISO_TIME =
  /^(\d{4}-\d{2}(?:-\d{2})?)(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?$/i
/** At the end of a time: the day of a date has no ":" before it. */
const HOURS_OF_ZONE = /(?<=:\S+[+-])\d{2}$/

/**
 * A time as ISO 8601 writes it, with a space for the T if need be, and a zone of whole hours, as PostgreSQL prints one. `Date.parse` alone takes much more, and guesses:
 * the order of day and month, or a month behind whatever word stands in front.
 *
 * @returns ms since 1970; null for anything else, and for a day that its month does not have
 */
export function parseIsoTime(text: string): number | null {
  const date = ISO_TIME.exec(text)?.[1]
  if (date === undefined || !isOfCalendar(date)) return null
  const ms = Date.parse(text.replace(HOURS_OF_ZONE, '$&:00'))
  return Number.isNaN(ms) ? null : ms
}

/** Date goes on counting: it takes the 31st of February for the 3rd of March. */
function isOfCalendar(date: string): boolean {
  const ms = Date.parse(date) // in UTC, as it has no time of day
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(date)
}
