/** Stored numbers for the kinds of log entries: never change them. */
export const KIND_OPERATION = 0
export const KIND_SNAPSHOT = 1
