export type FilterValue =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: string }

/** Converts typed text to a value of the field's kind. Empty text means no value. */
export function parseFilterValue(kind: string, typed: string): FilterValue {
  const text = typed.trim()
  if (text === '') return { ok: true, value: null }
  switch (kind) {
    case 'number':
      return Number.isFinite(Number(text)) ? { ok: true, value: Number(text) } : refuse('Type a number.')
    case 'boolean':
      if (text === 'true' || text === 'false') return { ok: true, value: text === 'true' }
      return refuse('Type true or false.')
    case 'timestamp': {
      const at = /^-?\d+$/.test(text) ? Number(text) : Date.parse(text)
      if (Number.isFinite(at)) return { ok: true, value: at }
      return refuse('Type a time such as 2025-06-01T12:00:00Z, or milliseconds since 1970.')
    }
    case 'array':
    case 'object':
    case 'json':
    case 'blob':
      return parseJson(text)
    default:
      return { ok: true, value: typed }
  }
}

function parseJson(text: string): FilterValue {
  try {
    return { ok: true, value: JSON.parse(text) }
  } catch {
    return refuse('Type JSON, such as ["a"] or {"a":1}.')
  }
}

function refuse(problem: string): FilterValue {
  return { ok: false, problem }
}
