import type { Operation } from '../../../src/core/operation.ts'
import { computeOperationId } from '../../../src/core/operation-id.ts'
import type { Frame } from '../../../src/protocol/frame.ts'
import type { SyncMessage } from '../../../src/protocol/messages.ts'
import { encodeProtobufMessage } from '../../../src/protocol/protobuf-codec.ts'
import { recordedMessages } from '../recorded-frames.ts'
import type { Mutator } from './mutator.ts'

const HASH = 'ab'.repeat(32)
const CURSOR = { collection: 'todos', recordId: 'r1', field: 'title', anchor: 0, head: 3 }

/** What the recorded conversations lack. */
const FURTHER: readonly object[] = [
  {
    type: 'awareness-update',
    messageId: 'p',
    clientId: 1,
    states: { '1': { user: { name: 'ada', color: '#2563eb' }, cursor: CURSOR } },
  },
  { type: 'awareness-update', messageId: 'p', clientId: 1, states: { '1': null } },
  {
    type: 'yjs-doc-update',
    messageId: 'y',
    collection: 'todos',
    recordId: 'r1',
    field: 'notes',
    update: 'AAA=',
  },
  { type: 'blob-chunk-request', messageId: 'q', requestId: 'q1', hash: HASH },
  { type: 'blob-chunk-response', messageId: 'r', requestId: 'q1', bytes: 'AAAA' },
  { type: 'blob-chunk-push', messageId: 'u', hash: HASH, bytes: 'AAAA' },
  { type: 'error', messageId: 'e', code: 'X', message: 'x', retriable: false },
]

const MESSAGES: readonly object[] = [
  ...recordedMessages().map(({ text }) => JSON.parse(text) as object),
  ...FURTHER,
]

/** Frames that were sent, or could have been, in both wire formats. */
export const FRAMES: readonly Frame[] = MESSAGES.flatMap((message) => [
  { isBinary: false, bytes: Buffer.from(JSON.stringify(message)) },
  { isBinary: true, bytes: encodeProtobufMessage(message as SyncMessage) },
])

const BYTES = FRAMES.map(({ bytes }) => bytes)

/** Frames as lines of text: how a file of `test/crashers/frames` holds them. */
export function formatFrames(frames: readonly Frame[]): string {
  return frames
    .map(({ isBinary, bytes }) => `${isBinary ? 'binary' : 'text'} ${Buffer.from(bytes).toString('base64')}`)
    .join('\n')
}

/** @see formatFrames */
export function parseFrames(text: string): Frame[] {
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line) => {
    const [kind, base64] = line.split(' ')
    if (base64 === undefined || (kind !== 'text' && kind !== 'binary')) throw new Error(`No frame: ${line}`)
    return { isBinary: kind === 'binary', bytes: Buffer.from(base64, 'base64') }
  })
}

/** A frame that nobody should send: half of them with changed bytes, half with changed values. */
export function mutatedFrame(mutator: Mutator): Frame {
  if (mutator.random() < 0.5) {
    const { isBinary, bytes } = mutator.pick(FRAMES)
    return { isBinary, bytes: mutator.bytes(bytes, BYTES) }
  }
  const message = withFittingIds(mutator.json(mutator.pick(MESSAGES)), mutator)
  const text = JSON.stringify(message) ?? ''
  if (mutator.random() < 0.7) return { isBinary: mutator.random() < 0.1, bytes: Buffer.from(text) }
  try {
    return { isBinary: true, bytes: encodeProtobufMessage(message as SyncMessage) }
  } catch {
    return { isBinary: false, bytes: Buffer.from(text) } // it has no binary form
  }
}

const OPERATIONS: readonly object[] = MESSAGES.flatMap((message) =>
  'operations' in message && Array.isArray(message.operations) ? message.operations : [],
)

/** A batch that is well formed but for its operations. */
export function mutatedBatch(mutator: Mutator): Frame {
  const operations = Array.from({ length: 1 + mutator.below(4) }, () => {
    const operation = mutator.pick(OPERATIONS)
    const made: object = { ...operation, recordId: `r${mutator.below(50)}` }
    const part = mutator.pick(['data', 'previousData', 'atomicOps', null])
    if (part === null) return withFittingId(mutator.json(made))
    const value: unknown = mutator.json((made as Record<string, unknown>)[part] ?? {})
    return withFittingId({ ...made, [part]: value })
  })
  const message = { type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 }
  return { isBinary: false, bytes: Buffer.from(JSON.stringify(message)) }
}

/** Operations that came out whole get the id that they have now, or the first check would end it all. */
function withFittingIds(message: unknown, mutator: Mutator): unknown {
  if (typeof message !== 'object' || message === null || !('operations' in message)) return message
  if (!Array.isArray(message.operations) || mutator.random() < 0.2) return message
  return { ...message, operations: message.operations.map(withFittingId) }
}

function withFittingId(operation: unknown): unknown {
  try {
    return { ...(operation as object), id: computeOperationId(operation as Operation) }
  } catch {
    return operation
  }
}
