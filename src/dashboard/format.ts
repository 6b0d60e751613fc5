const COUNT = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})
const DAY = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: '2-digit' })
const DAY_BC = new Intl.DateTimeFormat(undefined, {
  year: 'numeric',
  month: 'short',
  day: '2-digit',
  era: 'short',
})

export function formatCount(value: number | null): string {
  return value === null ? '–' : COUNT.format(value)
}

/** (1, "record") → "1 record", (12345, "record") → "12,345 records" */
export function formatQuantity(count: number | null, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** At most about five characters, for axes and tiles. */
export function formatShort(value: number): string {
  return value < 10_000 ? COUNT.format(value) : SHORT.format(value)
}

export function formatRate(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : formatShort(perSecond)
}

export function formatMs(ms: number | null): string {
  if (ms === null) return '–'
  if (ms === 0) return '0 ms'
  if (ms < 1) return `${ms.toFixed(2)} ms`
  if (ms < 10) return `${ms.toFixed(1)} ms`
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

/** In units of 1000, as the commands print them. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return '–'
  if (bytes < 1000) return `${bytes} B`
  const units = ['kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = -1
  do {
    value /= 1000
    unit++
  } while (value >= 1000 && unit < units.length - 1)
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${minutes % 60} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** The time of day, with the date unless it is today. */
export function formatTime(at: number, now: number = Date.now()): string {
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return String(at)
  const isToday = date.toDateString() === new Date(now).toDateString()
  if (isToday) return CLOCK.format(date)
  const day = date.getFullYear() > 0 ? DAY : DAY_BC // both formats count their years from 1
  return `${day.format(date)}, ${CLOCK.format(date)}`
}

export function formatClock(at: number): string {
  return CLOCK.format(new Date(at))
}

export function formatExactTime(at: number): string {
  const date = new Date(at)
  return Number.isNaN(date.getTime()) ? String(at) : date.toISOString()
}

/** Shows both ends of an id, because ids that begin with the time look alike at the start. */
export function shortId(id: string): string {
  return id.length <= 16 ? id : `${id.slice(0, 8)}…${id.slice(-6)}`
}

/**
 * Makes text safe to show on one line: control characters, and those that reverse the direction of writing, become
 * visible, so that no text can pass for another one beside it.
 */
export function visibleText(text: string): string {
  return text.replace(DISGUISING, (character) => {
    const code = character.codePointAt(0) ?? 0
    if (character === '\n') return '↵'
    if (character === '\t') return '⇥'
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`
  })
}

/** The same as `visibleText`, but keeps line breaks. */
export function visibleLines(text: string): string {
  return text.split('\n').map(visibleText).join('\n')
}

// C0 and C1 controls, soft hyphen, marks of direction, invisible spaces, tags
const DISGUISING =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu
