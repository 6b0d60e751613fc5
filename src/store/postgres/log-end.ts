/** Where the log ends, the id of its last operation, what is noted of doubt, 0 for nothing, and the epoch. @see KnownEnd */
export const END_COLUMNS = `delivery_sequence, (SELECT id FROM {operations} WHERE seq = delivery_sequence),
  coalesce((SELECT value FROM {meta} WHERE key = 'doubtful_through')::bigint, 0), epoch`

/** In the order of `END_COLUMNS`. */
export type EndRow = [
  deliverySequence: number,
  operationId: Buffer | null,
  doubtfulThrough: number,
  epoch: number,
]
