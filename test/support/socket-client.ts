import { WebSocket } from 'ws'
import type { AuthContext } from '../../src/auth/provider.ts'
import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Operation } from '../../src/core/operation.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import type { ScopeMap } from '../../src/core/scope.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { KoraSyncServer, type KoraSyncServerConfig } from '../../src/http/kora-sync-server.ts'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import { decodeServerMessage } from './device/codec.ts'

/** The end of a connection as the client sees it. */
export interface SocketEnd {
  readonly code: number
  readonly reason: string
}

/** A client that says what the test says, over a real socket, and keeps all that it is told. */
export class SocketClient implements Disposable {
  readonly socket: WebSocket
  readonly received: SyncMessage[] = []
  /** Every byte, for canaries. */
  readonly texts: string[] = []
  readonly ended: Promise<SocketEnd>
  acknowledges = true
  #end: SocketEnd | null = null
  #wake: () => void = () => {}

  constructor(url: string) {
    this.socket = new WebSocket(url)
    this.socket.on('error', () => {})
    this.socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary))
    this.ended = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        this.#end = { code, reason: reason.toString() }
        resolve(this.#end)
        this.#wake()
      })
    })
  }

  /** Resolves when the socket is open. */
  async opened(): Promise<this> {
    if (this.socket.readyState === WebSocket.CONNECTING) {
      await new Promise((resolve) => {
        this.socket.once('open', resolve)
        this.socket.once('close', resolve)
      })
    }
    return this
  }

  get isEnded(): boolean {
    return this.#end !== null
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message))
  }

  ofType<Type extends SyncMessage['type']>(type: Type): Extract<SyncMessage, { type: Type }>[] {
    return this.received.filter((m): m is Extract<SyncMessage, { type: Type }> => m.type === type)
  }

  /** Resolves as soon as it holds, or when the connection has ended. */
  async until(isMet: () => boolean): Promise<void> {
    while (!isMet() && this.#end === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  [Symbol.dispose](): void {
    this.socket.terminate()
  }

  #receive(bytes: Buffer, isBinary: boolean): void {
    const text = String(bytes)
    this.texts.push(text)
    const message = isBinary ? decodeServerMessage(bytes) : (JSON.parse(text) as SyncMessage)
    this.received.push(message)
    if (this.acknowledges && message.type === 'operation-batch') {
      this.send({
        type: 'acknowledgment',
        messageId: 'a',
        acknowledgedMessageId: message.messageId,
        lastSequenceNumber: 0,
        ...(message.maxDeliverySequence !== undefined && { deliverySequence: message.maxDeliverySequence }),
      })
    }
    this.#wake()
  }
}

export interface TokenClaims extends Omit<AuthContext, 'scopes'> {
  /** null: everything */
  readonly scopes: ScopeMap | null
}

/** A listening server where a token is the JSON of what it grants. */
export interface SocketServer extends AsyncDisposable {
  readonly server: KoraSyncServer
  readonly url: string
  open(): Promise<SocketClient>
  /** A client whose handshake is answered. */
  connect(nodeId: string, claims?: Partial<TokenClaims>, handshake?: object): Promise<SocketClient>
}

export function handshakeOf(nodeId: string, claims: Partial<TokenClaims> = {}, changes: object = {}): object {
  return {
    type: 'handshake',
    messageId: 'h',
    nodeId,
    versionVector: {},
    schemaVersion: 1,
    authToken: JSON.stringify({ userId: nodeId, scopes: null, ...claims }),
    lastDeliverySequence: 0,
    ...changes,
  }
}

export async function startSocketServer(config: Partial<KoraSyncServerConfig> = {}): Promise<SocketServer> {
  const auth = new TokenAuthProvider({
    validate: async (token) => {
      const { scopes, ...context } = JSON.parse(token) as TokenClaims
      return scopes === null ? context : { ...context, scopes }
    },
  })
  const server = new KoraSyncServer({
    port: 0,
    host: '127.0.0.1',
    logger: silentLogger,
    auth,
    ...config,
  } as KoraSyncServerConfig)
  await server.start()
  const url = server.url as string
  const open = (): Promise<SocketClient> => new SocketClient(url).opened()
  return {
    server,
    url,
    open,
    async connect(nodeId, claims, handshake) {
      const client = await open()
      client.send(handshakeOf(nodeId, claims, handshake))
      await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
      return client
    },
    async [Symbol.asyncDispose]() {
      server.abort()
      await server.stop()
    },
  }
}

/** Sends a batch and resolves when it is acknowledged, or the connection has ended. */
export function pushed(
  client: SocketClient,
  operations: readonly Operation[],
  messageId: string,
): Promise<void> {
  client.send({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
  return client.until(() =>
    client.ofType('acknowledgment').some((ack) => ack.acknowledgedMessageId === messageId),
  )
}

/** The real clock, on which everything takes a fraction of its time. */
export function fastRuntime(factor: number): Runtime {
  const real = systemRuntime()
  return {
    ...real,
    monotonicNow: () => real.monotonicNow() * factor,
    setTimer: (delayMs, callback) => real.setTimer(delayMs / factor, callback),
  }
}

/** A generator of numbers in [0, 1) that a seed determines: mulberry32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The seed of a run, printed: `SEED=…` repeats it. */
export function seedOf(name: string): number {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  console.log(`${name}: SEED=${seed}`)
  return seed
}
