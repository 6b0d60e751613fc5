import { hash } from 'node:crypto'
import { canonicalJson } from './canonical-json.ts'
import { serializeTime } from './clock.ts'
import { jsonOfName, jsonOfText } from './json-text.ts'
import { memoizeLast } from './memoize-last.ts'
import type { FieldValues, JsonValue, Operation } from './operation.ts'
import { ownValue, setOwnValue } from './own-property.ts'
import { decodeBase64Form, isEncryptedPayload } from './record/binary-values.ts'

/**
 * The content from which an operation's id is computed. Sequence number, dependencies and labels are not part of
 * it.
 */
export type IdentifiedContent = Pick<
  Operation,
  'nodeId' | 'type' | 'collection' | 'recordId' | 'data' | 'timestamp' | 'atomicOps'
>

/** The canonical form of bytes is ten times their size, so larger old values are not verified. */
const MAX_OLDER_BYTES = 65_536

/** Operations of one batch are mostly of one node. */
const jsonOfNodeId = memoizeLast(jsonOfText)
const jsonBehindQuote = memoizeLast((text: string) => jsonOfText(text).slice(1))

/** SHA-256 of the operation's canonical content, 64 lower-case hex digits. */
export function computeOperationId(operation: IdentifiedContent): string {
  return hash('sha256', identifiedText(operation), 'hex')
}

/**
 * Compares an operation's id with its content.
 *
 * `unverifiable`: the id was computed from content that was not sent (end-to-end encryption), or from bytes whose
 * form, of clients before 1.0, cannot be restored. A `mismatch` need not be forgery: a field that was undefined
 * when the operation was written is part of its id, but not of the wire form.
 */
export function checkOperationId(
  operation: IdentifiedContent & { readonly id: string },
): 'verified' | 'mismatch' | 'unverifiable' {
  if (isEncryptedPayload(operation.data)) return 'unverifiable'
  if (computeOperationId(operation) === operation.id) return 'verified'
  const olderData = expandOlderBytes(operation.data)
  if (olderData === null) return 'mismatch'
  return computeOperationId({ ...operation, data: olderData }) === operation.id ? 'verified' : 'unverifiable'
}

function identifiedText(operation: IdentifiedContent): string {
  const { atomicOps, timestamp } = operation
  const hasAtomicOps = atomicOps !== undefined && Object.keys(atomicOps).length > 0
  return (
    `{${hasAtomicOps ? `"atomicOps":${canonicalJson(atomicOps)},` : ''}` +
    `"collection":${jsonOfName(operation.collection)},"data":${canonicalJson(operation.data)},` +
    `"nodeId":${jsonOfNodeId(operation.nodeId)},"recordId":${jsonOfText(operation.recordId)},` +
    `"timestamp":"${serializeTime(timestamp)}${jsonBehindQuote(timestamp.nodeId)},"type":"${operation.type}"}`
  )
}

/**
 * Replaces `__kora_bytes__` values with the byte objects that clients before 1.0 hashed; null when there are none.
 * Data with too many bytes is returned as it is.
 */
function expandOlderBytes(data: FieldValues | null): FieldValues | null {
  if (data === null) return null
  const expanded: { [field: string]: JsonValue } = {}
  let budget = MAX_OLDER_BYTES
  let hasOlderForm = false
  for (const [field, value] of Object.entries(data)) {
    const bytes = isOlderForm(value) ? decodeBase64Form(value) : null
    hasOlderForm ||= bytes !== null
    budget -= bytes?.length ?? 0
    if (budget < 0) return data
    setOwnValue(expanded, field, bytes === null ? value : { ...Array.from(bytes) })
  }
  return hasOlderForm ? expanded : null
}

function isOlderForm(value: JsonValue): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    ownValue(value as FieldValues, '__kora_bytes__') !== undefined
  )
}
