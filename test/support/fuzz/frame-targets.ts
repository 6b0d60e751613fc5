import { TokenAuthProvider } from '../../../src/auth/token-auth-provider.ts'
import { ProtocolError } from '../../../src/core/errors.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { KoraSyncServer } from '../../../src/http/kora-sync-server.ts'
import { DEFAULT_DECODE_LIMITS, decodeFrame, HANDSHAKE_DECODE_LIMITS } from '../../../src/protocol/codec.ts'
import type { Frame } from '../../../src/protocol/frame.ts'
import { operationToWireJson } from '../../../src/protocol/parse-operation.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { MemoryTransport } from '../memory-transport.ts'
import { settle } from '../simulated-runtime.ts'
import { handshakeOf } from '../socket-client.ts'
import { recordingLogger } from '../tokens.ts'

/** The collections of the recorded conversations, with a field of every kind. */
export const fuzzSchema: SchemaDefinition = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string().optional(),
        notes: t.richtext().optional(),
        done: t.boolean().default(false),
        count: t.number().optional(),
        tags: t.array(t.string()).optional(),
        meta: t.json().optional(),
        dueAt: t.timestamp().optional(),
        status: t.enum(['open', 'done']).optional(),
        userId: t.string().optional(),
      },
      indexes: ['userId'],
      scope: ['userId'],
      constraints: [{ type: 'unique', fields: ['title'], onConflict: 'last-write-wins' }],
    },
    notes: { fields: { body: t.richtext().optional(), todoId: t.string().optional() } },
    files: { fields: { blob: t.blob().optional() } },
    users: { fields: { name: t.string().optional() } },
  },
})

/**
 * Reads a frame as a stranger's and as a member's.
 *
 * @returns what is wrong with what came of it: anything but a refusal or a canonical message
 */
export function findDecodeProblem(frame: Frame): string | null {
  for (const limits of [DEFAULT_DECODE_LIMITS, { ...DEFAULT_DECODE_LIMITS, ...HANDSHAKE_DECODE_LIMITS }]) {
    try {
      const message = decodeFrame(frame, limits)
      if (message.type !== 'operation-batch') continue
      for (const each of message.operations) {
        if (each.ok && operationToWireJson(JSON.parse(each.wireJson)) !== each.wireJson) {
          return `stored otherwise than it is read: ${each.wireJson}`
        }
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) return String(error)
    }
  }
  return Object.keys(Object.prototype).length > 0 ? 'Object.prototype has been changed' : null
}

const ANSWER_MS = 30_000
/** What a member is sent when it connects; with all of the log each connection would cost more than the one before. */
const MISSED_OPERATIONS = 200

class FrameTransport extends MemoryTransport {
  isAdmitted = false
  #questions = 0
  #isAnswered = false

  admit(): void {
    this.isAdmitted = true
  }

  /** What else is answered is not looked at. */
  sendFrame({ bytes }: Frame): void {
    this.#isAnswered ||= Buffer.from(bytes).includes(this.#question)
  }

  /** Resolves when everything that was received is handled, or has ended the session, however long the store takes. */
  async untilHandled(): Promise<void> {
    this.#questions++
    this.#isAnswered = false
    this.receive({
      type: 'operation-batch',
      messageId: this.#question,
      operations: [],
      isFinal: true,
      batchIndex: 0,
    })
    const deadline = performance.now() + ANSWER_MS
    while (!this.#isAnswered && this.closed === null) {
      if (performance.now() > deadline) throw new Error(`A session was silent for ${ANSWER_MS} ms`)
      await settle()
    }
  }

  get #question(): string {
    return `question ${this.#questions}.`
  }
}

/** A server to which frames are handed as they come from sockets, and whose log is read for crashes. */
export class SessionTarget implements AsyncDisposable {
  readonly #server: KoraSyncServer
  readonly #store: ServerStore
  readonly #logger = recordingLogger()
  #member: FrameTransport | null = null
  #members = 0

  constructor(store: ServerStore) {
    const chunks = new Map<string, Uint8Array>()
    this.#store = store
    this.#server = new KoraSyncServer({
      store,
      logger: this.#logger,
      maxOpsPerMinute: 0,
      supportedSchemaVersions: { min: 1, max: 2 ** 31 - 1 },
      auth: new TokenAuthProvider({ validate: async (token) => JSON.parse(token) }),
      persistBlobChunk: async (hash, bytes) => void chunks.set(hash, bytes),
      resolveBlobChunk: async (hash) => chunks.get(hash) ?? null,
    })
  }

  /** Sessions that were ended, each by a frame. */
  get memberCount(): number {
    return this.#members
  }

  /** As the first frame of a connection. */
  async fromStranger(frame: Frame): Promise<string | null> {
    const stranger = new FrameTransport()
    this.#server.handleConnection(stranger)
    stranger.receive(frame)
    await settle()
    stranger.disconnect()
    return this.#crash()
  }

  /** Over a connection whose handshake is accepted. */
  async fromMember(frames: readonly Frame[]): Promise<string | null> {
    for (const frame of frames) {
      if (this.#member === null || this.#member.closed !== null) this.#member = await this.#connect()
      this.#member.receive(frame)
    }
    await this.#member?.untilHandled()
    await settle() // what goes on behind the end of a session
    await this.#server.hub.ingest.drain()
    return this.#crash()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop()
  }

  async #connect(): Promise<FrameTransport> {
    const member = new FrameTransport()
    const nodeId = `member-${++this.#members % 20}`
    this.#server.handleConnection(member)
    const lastDeliverySequence = Math.max(0, (await this.#store.getMaxDeliverySequence()) - MISSED_OPERATIONS)
    const authToken = JSON.stringify({ userId: nodeId })
    member.receive(handshakeOf(nodeId, {}, { authToken, lastDeliverySequence }))
    while (!member.isAdmitted && member.closed === null) await settle()
    return member
  }

  #crash(): string | null {
    const line = this.#logger.lines.find(({ level, message }) => level === 'error' && !EXPECTED.has(message))
    this.#logger.lines.length = 0
    if (line === undefined) return null
    const { err } = line.fields as { err?: Error }
    return `${line.message}: ${err?.stack ?? JSON.stringify(line.fields)}`
  }
}

/** Tokens that are no JSON make the check above throw, which counts as the application's error. */
const EXPECTED: ReadonlySet<string> = new Set(["the application's authentication code failed"])
