/**
 * The end of the log, the id of its last operation, the end of doubtful positions (0: none), and the epoch. @see
 * KnownEnd
 */
export const END_COLUMNS = `delivery_sequence, (SELECT id FROM {operations} WHERE seq = delivery_sequence),
  coalesce((SELECT value FROM {meta} WHERE key = 'doubtful_through')::bigint, 0), epoch`

/** The values of `END_COLUMNS`, in order. */
export type EndRow = [
  deliverySequence: number,
  operationId: Buffer | null,
  doubtfulThrough: number,
  epoch: number,
]
