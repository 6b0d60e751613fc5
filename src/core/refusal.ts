/**
 * The codes with which a single operation is refused, while the rest of its batch goes on. `validateOperation` may
 * add codes of the application's own.
 */
export const REFUSAL_CODES = {
  INVALID_OPERATION: {
    meaning: 'The operation is malformed: a field is missing, of the wrong type, or out of range.',
    remedy: 'Report it to the author of the client; the message names the field.',
    retriable: false,
  },
  INVALID_TIMESTAMP: {
    meaning: "The operation's clock reading is out of range or ahead of the server's clock.",
    remedy: 'Set the clock of the device; what is written from then on is accepted.',
    retriable: false,
  },
  OPERATION_TOO_LARGE: {
    meaning: 'The operation is larger than maxOperationBytes.',
    remedy: 'Store large values as blobs, or raise limits.maxOperationBytes.',
    retriable: false,
  },
  SCOPE_VIOLATION: {
    meaning: 'The record is, or would become, one that the author may not write.',
    remedy: 'Compare the scopes of the token with the record; `kora-server token inspect` shows them.',
    retriable: false,
  },
  SCHEMA_VIOLATION: {
    meaning: 'The operation does not fit the schema and would stop every client that receives it.',
    remedy: 'Deploy the schema of the app to the server, or update the client.',
    retriable: false,
  },
  ID_CONFLICT: {
    meaning: 'Another operation with other content is already stored under this id.',
    remedy: 'Report it: an honest client cannot produce this.',
    retriable: false,
  },
  CONSTRAINT_VIOLATION: {
    meaning: 'A constraint or a state machine of the schema forbids the resulting record.',
    remedy: 'Resolve the conflict in the app; the message names the constraint.',
    retriable: false,
  },
  REFERENTIAL_INTEGRITY: {
    meaning: 'Other records still refer to the record, and their relation restricts its deletion.',
    remedy: 'Delete or change the referring records first.',
    retriable: false,
  },
  RECORD_PURGED: {
    meaning: 'The record was deleted longer ago than tombstones are kept; nothing of it is left to change.',
    remedy: 'Delete it in the app, or insert it anew; keep tombstones longer (`retention.tombstones`).',
    retriable: false,
  },
  VALIDATION_ERROR: {
    meaning: "The application's own validateOperation threw an error, or returned no verdict.",
    remedy:
      "Look at the server's log for the error and correct validateOperation. The device has given the operation up.",
    retriable: true,
  },
} as const satisfies Record<string, RefusalCodeInfo>

export interface RefusalCodeInfo {
  readonly meaning: string
  readonly remedy: string
  readonly retriable: boolean
}

export type RefusalCode = keyof typeof REFUSAL_CODES

/** The reason why one operation was not stored. A value, not an exception: the rest of its batch goes on. */
export interface Refusal {
  /** A `RefusalCode`, or a code of the application's own. */
  readonly code: string
  /** One or two sentences for the app's developer. Reveals nothing that the operation's author may not see. */
  readonly message: string
  readonly retriable: boolean
}

/** The codes with which a write of the application itself (`kora`) is refused, beside those above. */
export const WRITE_REFUSAL_CODES = {
  RECORD_EXISTS: {
    meaning: 'An insert names the id of a record that lives.',
    remedy: 'Update the record, or insert under another id.',
    retriable: false,
  },
  RECORD_NOT_FOUND: {
    meaning: 'An update or delete names a record that does not exist or is deleted.',
    remedy: 'Insert it first.',
    retriable: false,
  },
  CONDITION_FAILED: {
    meaning: 'The record holds another value than the condition expects.',
    remedy: 'Read the record again and decide again.',
    retriable: false,
  },
  KEY_REUSED: {
    meaning: 'The idempotency key was used for another write.',
    remedy: 'Use a new key for each write.',
    retriable: false,
  },
} as const satisfies Record<string, RefusalCodeInfo>

export type WriteRefusalCode = keyof typeof WRITE_REFUSAL_CODES

/** Builds the refusal of a write of the application, with the retriable flag that belongs to its code. */
export function refuseWrite(code: WriteRefusalCode, message: string): Refusal {
  return { code, message, retriable: WRITE_REFUSAL_CODES[code].retriable }
}

/** Builds a refusal with the retriable flag that belongs to its code. */
export function refuse(code: RefusalCode, message: string): Refusal {
  return { code, message, retriable: REFUSAL_CODES[code].retriable }
}
