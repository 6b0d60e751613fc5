import { DEFAULT_DECODE_LIMITS } from '../../protocol/codec.ts'
import { MessageReader, protocolError } from '../../protocol/message-reader.ts'
import type { AwarenessState, YjsDocUpdateMessage } from '../../protocol/messages.ts'
import { receiveMessage } from '../../protocol/receive.ts'
import { type PeerDescription, parsePeerDescription } from './remote-peer.ts'

/*
 * Messages between servers, and their parsers. Any role that may connect to the database can publish them, so
 * nothing reaches relays or clients that a server would not have sent: each parser throws a ProtocolError for
 * anything else.
 */

/** An author that shows something of itself. */
export interface PresentAuthor {
  readonly id: string
  readonly peer: PeerDescription
  readonly state: AwarenessState
}

/** What changed for one author: its new state, or null once it has left. */
export type AuthorNews = PresentAuthor | { readonly id: string; readonly state: null }

export interface PresenceNews {
  /** Ids of all present authors: one that is not named has left. */
  readonly ids?: readonly string[]
  readonly authors: readonly AuthorNews[]
}

/** @throws ProtocolError */
export function parsePresenceNews(payload: string): PresenceNews {
  const reader = readerOf(payload, 'presence')
  const authors = reader.list('authors', Number.POSITIVE_INFINITY).map(parseAuthor)
  if (!reader.has('ids')) return { authors }
  return { ids: reader.list('ids', Number.POSITIVE_INFINITY).map(parseAuthorId), authors }
}

/** A rich-text update and its author. */
export interface TypedNews {
  /** Id of the session. */
  readonly id: string
  readonly peer: PeerDescription
  readonly message: YjsDocUpdateMessage
}

/** @throws ProtocolError */
export function parseTypedNews(payload: string): TypedNews {
  const reader = readerOf(payload, 'richtext')
  const message = receiveMessage(reader.unchecked('message'), DEFAULT_DECODE_LIMITS)
  if (message.type !== 'yjs-doc-update') throw reader.error('message', ` is of type ${message.type}`)
  return { id: reader.text('id', ID), peer: readPeer(reader), message }
}

export interface BlobQuestion {
  readonly id: string
  /** Id of the session whose client wants the content. */
  readonly session: string
  readonly hash: string
  readonly peer: PeerDescription
}

/** @throws ProtocolError */
export function parseBlobQuestion(payload: string): BlobQuestion {
  const reader = readerOf(payload, 'blob-ask')
  const id = reader.text('id', ID)
  // Servers of earlier builds do not name the session.
  const session = reader.has('session') ? reader.text('session', ID) : id
  return { id, session, hash: reader.hash('hash'), peer: readPeer(reader) }
}

export interface BlobAnswer {
  /** Id of the question. */
  readonly id: string
  /** base64; null: nobody there has it. */
  readonly bytes: string | null
}

/** @throws ProtocolError */
export function parseBlobAnswer(payload: string): BlobAnswer {
  const reader = readerOf(payload, 'blob-answer')
  const bytes = reader.unchecked('bytes') === null ? null : reader.base64('bytes')
  return { id: reader.text('id', ID), bytes }
}

/** Ids of sessions and questions are made of UUIDs. */
const ID = { minLength: 1, maxLength: 255 }

function readerOf(payload: string, topic: string): MessageReader {
  let value: unknown
  try {
    value = JSON.parse(payload)
  } catch {
    throw protocolError(`${topic} is not JSON.`) // without the cause, which shows some of it
  }
  return new MessageReader(value, topic)
}

function readPeer(reader: MessageReader): PeerDescription {
  const peer = parsePeerDescription(reader.unchecked('peer'))
  if (peer === null) throw reader.error('peer', ' describes no session')
  return peer
}

function parseAuthorId(value: unknown): string {
  return new MessageReader({ id: value }, 'presence.ids').text('id', ID)
}

function parseAuthor(value: unknown): AuthorNews {
  const reader = new MessageReader(value, 'presence.authors')
  const id = reader.text('id', ID)
  const state = parseState(reader)
  return state === null ? { id, state } : { id, peer: readPeer(reader), state }
}

/** Held to the bounds of a client's own state, so that clients here get nothing that a client could not have sent. */
function parseState(reader: MessageReader): AwarenessState | null {
  const states = { 0: reader.unchecked('state') }
  const message = receiveMessage(
    { type: 'awareness-update', messageId: '', clientId: 0, states },
    DEFAULT_DECODE_LIMITS,
  )
  const state = message.type === 'awareness-update' ? message.states[0] : undefined
  if (state === undefined) throw reader.error('state', ' is not a presence state')
  return state
}
