/**
 * Position where a client without watermark stopped reading its delta. Sent with each batch of the delta, and
 * returned by the client in its next handshake.
 */
export interface DeltaCursor {
  readonly lastOperationId: string
  readonly batchIndex: number
}

/** base64url, without padding, of the cursor's JSON. */
export function encodeDeltaCursor({ lastOperationId, batchIndex }: DeltaCursor): string {
  return Buffer.from(JSON.stringify({ lastOperationId, batchIndex })).toString('base64url')
}

/** @returns null for anything that is not a cursor, which makes the client read from the start */
export function decodeDeltaCursor(encoded: string): DeltaCursor | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'))
  } catch {
    return null
  }
  if (typeof parsed !== 'object' || parsed === null) return null
  const { lastOperationId, batchIndex } = parsed as { lastOperationId?: unknown; batchIndex?: unknown }
  if (typeof lastOperationId !== 'string' || typeof batchIndex !== 'number') return null
  return { lastOperationId, batchIndex }
}
