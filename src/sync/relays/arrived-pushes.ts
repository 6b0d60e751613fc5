import { ProtocolError } from '../../core/errors.ts'
import { isFrame } from '../../protocol/frame.ts'
import type { BlobChunkPushMessage, ReceivedMessage } from '../../protocol/messages.ts'

/**
 * Finds, among the messages still waiting when a connection ends, those that the client will not send again:
 * content of blobs, which is pushed once and never answered.
 */
export function* arrivedPushes(
  waiting: readonly unknown[],
  decode: (message: unknown) => ReceivedMessage,
): Generator<BlobChunkPushMessage, void> {
  for (const message of waiting) {
    if (!mayBePush(message)) continue
    try {
      const decoded = decode(message)
      if (decoded.type === 'blob-chunk-push') yield decoded
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error // nothing is lost with a message that cannot be read
    }
  }
}

/** False for a message that is certainly no push: decoding large batches in vain would hold others up. */
function mayBePush(message: unknown): boolean {
  if (!isFrame(message)) return true
  const { buffer, byteOffset, byteLength } = message.bytes
  return Buffer.from(buffer, byteOffset, Math.min(byteLength, 256)).includes('blob-chunk-push')
}
