import { ConfigError } from '../core/errors.ts'

const SECONDS_PER_UNIT: { readonly [unit: string]: number } = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }

/**
 * Reads a duration such as `90s`, `15m`, `1h`, `7d` or `2w`; a bare number is seconds.
 *
 * @returns seconds
 * @throws ConfigError `INVALID_ARGUMENT`
 */
export function parseDurationSeconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([smhdw]?)$/.exec(text.trim())
  const seconds =
    match === null ? Number.NaN : Number(match[1]) * (SECONDS_PER_UNIT[match[2] || 's'] ?? Number.NaN)
  if (seconds > 0) return Math.round(seconds)
  throw new ConfigError(
    'INVALID_ARGUMENT',
    `"${text}" is not a duration. Write for example 90s, 15m, 1h or 7d.`,
  )
}
