const MS_PER_UNIT = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Parses `'500ms'`, `'10s'`, `'5m'`, `'2h'` or `'90d'`. @returns ms, or null for any other text */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,12}(?:\.\d{1,6})?) ?(ms|s|m|h|d)$/.exec(text.trim())
  if (match === null) return null
  return Math.round(Number(match[1]) * MS_PER_UNIT[match[2] as keyof typeof MS_PER_UNIT])
}

/** The shortest text for a duration: `10000` is `'10s'`. */
export function formatDuration(durationMs: number): string {
  if (durationMs === 0) return '0s'
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (durationMs % MS_PER_UNIT[unit] === 0) return `${durationMs / MS_PER_UNIT[unit]}${unit}`
  }
  return `${durationMs}ms`
}
