import { parseTimestamp } from '../../core/clock.ts'
import type { Timestamp } from '../../core/operation.ts'
import { corruptOnOpening } from './corrupt.ts'

/**
 * Parses the newest timestamp given by the server, as `_kora_meta` holds it.
 *
 * @throws StoreError `STORE_CORRUPT`
 */
export function parseServerClock(stored: string): Timestamp {
  try {
    return parseTimestamp(stored)
  } catch (cause) {
    throw corruptOnOpening('"server_clock" in _kora_meta is damaged.', cause)
  }
}
