import { ProtocolError } from '../../core/errors.ts'
import { isFrame } from '../../protocol/frame.ts'
import type { BlobChunkPushMessage, ReceivedMessage } from '../../protocol/messages.ts'

/**
 * Those of the messages waiting when a connection ends that its client does not send again: content of blobs,
 * which is pushed once and never answered.
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
      if (!(error instanceof ProtocolError)) throw error // one that cannot be read is nobody's loss
    }
  }
}

/** False for what is certainly none: decoding large batches for nothing would hold others up. */
function mayBePush(message: unknown): boolean {
  if (!isFrame(message)) return true
  const { buffer, byteOffset, byteLength } = message.bytes
  return Buffer.from(buffer, byteOffset, Math.min(byteLength, 256)).includes('blob-chunk-push')
}
