/** How databases hold the kind of an entry of the log. Stored: never change them. */
export const KIND_OPERATION = 0
export const KIND_SNAPSHOT = 1
