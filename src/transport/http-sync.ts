import { quantityOf } from '../core/quantity.ts'

/** One request of the HTTP form of the protocol. A POST brings one message, a GET takes one away. */
export interface HttpSyncRequest {
  /** Tells clients apart: unguessable, chosen by the client or by the server's cookie. */
  readonly clientId: string
  readonly method: 'GET' | 'POST'
  /** The message of a POST. */
  readonly body?: string | Uint8Array | undefined
  /** Content type of the body: `application/x-protobuf` for protobuf; anything else is read as JSON. */
  readonly contentType?: string | undefined
  /** The `If-None-Match` header: the `ETag` of the message that the client has read. */
  readonly ifNoneMatch?: string | undefined
  /**
   * The bearer token, '' for none. It must belong to the user who opened the session or, until that user is known,
   * be the one that came with the handshake. Absent: the caller has checked the sender itself.
   */
  readonly token?: string | undefined
  /** For the log, and for `maxConnectionsPerAddress`. */
  readonly remoteAddress?: string | undefined
  /** Aborted when the connection of the request closes: no answer can be sent on it any more. */
  readonly signal?: AbortSignal | undefined
}

/** The answer to an `HttpSyncRequest`. */
export interface HttpSyncResponse {
  readonly status: 200 | 202 | 204 | 304 | 400 | 401 | 405 | 410 | 413 | 429
  readonly body?: string | Uint8Array
  readonly headers?: { readonly [name: string]: string }
  /**
   * To be called when the connection breaks before the whole answer has left (`'unsent'`), or after that and before
   * another request has come on it (`'sent'`). An unsent message is kept for the next poll.
   */
  readonly onBroken?: (answer: 'unsent' | 'sent') => void
}

/** An answer that says in words what is wrong. */
export function refusal(status: HttpSyncResponse['status'], error: string): HttpSyncResponse {
  return { status, body: JSON.stringify({ error }), headers: { 'content-type': 'application/json' } }
}

/** The answer to a request without a session. */
export const NO_SESSION = refusal(410, 'There is no session: start with a handshake.')

export const SESSION_ENDED_TEXT = 'The session has ended: start with a handshake.'

/** The answer to a request of a session that has ended. */
export const SESSION_ENDED = refusal(410, SESSION_ENDED_TEXT)

/** The answer to a token that the auth provider refuses. */
export const TOKEN_REFUSED = refusal(401, 'The token is refused.')

/** The answer to a token that could not be judged, and may be good. */
export const TOKEN_UNCHECKED = refusal(429, 'The token cannot be checked right now; come back later.')

/** The answer to a message that its session cannot take now; the client treats it as lost. */
export const SESSION_OVERLOADED = refusal(429, 'Messages arrive faster than they are processed.')

/** The answer to a body that is larger than `maxBytes`. */
export function tooLarge(maxBytes: number): HttpSyncResponse {
  return refusal(413, `The message is larger than ${quantityOf(maxBytes, 'byte')}.`)
}
