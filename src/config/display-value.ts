import { isPostgresUrl, maskPostgresUrl } from '../core/postgres-url.ts'
import { formatDuration } from './duration.ts'
import type { ValueOption } from './options.ts'

const MAX_SHOWN_LENGTH = 60 // a wrong value may be a whole file

/** Shows a value in a message about it. */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > MAX_SHOWN_LENGTH ? `${value.slice(0, MAX_SHOWN_LENGTH)}…` : value)
    case 'number':
    case 'boolean':
      return String(value)
    case 'object':
      if (value === null) return 'null'
      return Array.isArray(value) ? 'a list' : 'an object'
    default:
      return `a ${typeof value}`
  }
}

/** Shows a value of the effective configuration; secrets are masked. */
export function displayValue(option: ValueOption, value: unknown): string {
  if (option.isSecret) return maskSecret(value)
  if (option.type.json && 'anyOf' in option.type.json && typeof value === 'number')
    return formatDuration(value)
  if (typeof value === 'string') return value
  if (typeof value === 'function') return '(a function)'
  // A schema or a provider given directly in the configuration: its content would tell nothing here.
  if (option.type.isPath && typeof value === 'object') return '(in the configuration)'
  return JSON.stringify(value)
}

function maskSecret(value: unknown): string {
  return typeof value === 'string' && isPostgresUrl(value) ? maskPostgresUrl(value) : '***'
}
