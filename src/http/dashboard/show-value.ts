import type { JsonValue } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { quantityOf } from '../../core/quantity.ts'
import { decodeBytes } from '../../core/record/binary-values.ts'
import type { FieldDescriptor } from '../../core/schema/types.ts'
import { readableRichtext } from '../../store/materialize/readable-richtext.ts'
import type { ShownValue } from './api-types.ts'

type Secrecy = Pick<FieldDescriptor, 'kind' | 'itemKind' | 'nestedFields'>

/**
 * A value of a record or an operation as bounded text. Secrets show as `***`, wherever they occur.
 *
 * @param field null: the schema does not have the field
 * @param maxLength in characters
 */
export function showValue(value: unknown, field: Secrecy | null, maxLength: number): ShownValue {
  if (value === null || value === undefined) return { kind: 'null', text: '' }
  if (field !== null && isSecret(field)) return { kind: 'secret', text: '***' }
  if (field?.kind === 'richtext') return showRichtext(value, maxLength)
  if (typeof value === 'string') return cut('text', value, maxLength)
  if (typeof value === 'boolean') return { kind: 'boolean', text: String(value) }
  if (typeof value === 'number') {
    return { kind: field?.kind === 'timestamp' ? 'time' : 'number', text: String(value) }
  }
  if (value instanceof Uint8Array) return showBytes(value)
  const bytes = decodeBytes(value as JsonValue) // records and operations hold only JSON and bytes
  if (bytes !== null) return showBytes(bytes)
  return cut('json', JSON.stringify(withoutSecrets(value, field)), maxLength)
}

function showRichtext(value: unknown, maxLength: number): ShownValue {
  const text = readableRichtext(value as JsonValue | Uint8Array) // the types that columns and operations hold
  if (text !== null) return cut('text', text, maxLength)
  if (value instanceof Uint8Array) return showBytes(value)
  return cut('json', JSON.stringify(value), maxLength)
}

function showBytes(bytes: Uint8Array): ShownValue {
  return { kind: 'bytes', text: quantityOf(bytes.byteLength, 'byte') }
}

/** True where some or all of a field's value is hidden. */
export function holdsSecret(field: Secrecy): boolean {
  return isSecret(field) || Object.values(field.nestedFields ?? {}).some(holdsSecret)
}

/** True for a secret or a list of secrets. A list field knows only the kind of its items. */
function isSecret({ kind, itemKind }: Secrecy): boolean {
  return kind === 'secret' || itemKind === 'secret'
}

function withoutSecrets(value: unknown, field: Secrecy | null): unknown {
  if (field !== null && isSecret(field)) return '***'
  const nested = field?.nestedFields
  if (nested === undefined || nested === null) return value
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, field))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      withoutSecrets(inner, ownValue(nested, name) ?? null),
    ]),
  )
}

function cut(kind: ShownValue['kind'], text: string, maxLength: number): ShownValue {
  if (text.length <= maxLength) return { kind, text }
  return { kind, text: text.slice(0, maxLength), fullLength: text.length }
}
