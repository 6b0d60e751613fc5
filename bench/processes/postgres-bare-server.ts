import pg from 'pg'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Operation } from '../../src/core/operation.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { type PostgresServerOptions, type RunningServer, serveServer } from '../harness/server-process.ts'

/*
 * The limit on PostgreSQL: parses what arrives, writes the rows of each batch with one statement, as
 * many at a time as there are clients, acknowledges, and sends the frames. It knows neither duplicates
 * nor merges nor limits, and believes every id.
 */

const LAYOUT = `
  CREATE TABLE log (
    seq bigint PRIMARY KEY, id bytea NOT NULL, node bigint NOT NULL, sequence bigint NOT NULL,
    "user" text, wire_json text NOT NULL);
  CREATE INDEX ON log (node, sequence);
  CREATE INDEX ON log ("user", seq);
  CREATE TABLE vector (node text PRIMARY KEY, sequence bigint NOT NULL);
  CREATE TABLE todos (id text PRIMARY KEY, title text, completed integer, "userId" text,
    position double precision, _created_at bigint, _updated_at bigint, _deleted integer);
  CREATE INDEX ON todos ("userId");
  CREATE INDEX ON todos (completed);`

const WRITE = `
  WITH rows AS (
    INSERT INTO todos
    SELECT *, 0 FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::double precision[],
      $6::bigint[], $6::bigint[])
    ON CONFLICT (id) DO UPDATE SET title = excluded.title, _updated_at = excluded._updated_at
  ), advanced AS (
    INSERT INTO vector VALUES ($7, $8) ON CONFLICT (node) DO UPDATE SET sequence = excluded.sequence
  )
  INSERT INTO log (seq, id, node, sequence, "user", wire_json)
  SELECT $9::bigint + position, id, $10::bigint, sequence, "user", wire_json
  FROM unnest($11::bytea[], $12::bigint[], $4::text[], $13::text[])
    WITH ORDINALITY AS o (id, sequence, "user", wire_json, position)`

interface BareSession {
  readonly nodeId: string
  /** Where the newest frame that it was sent ends. */
  position: number
}

interface Batch {
  readonly messageId: string
  readonly nodeId: string
  readonly operations: readonly Operation[]
  readonly wireJsons: readonly string[]
  /** Delivery sequence before it. */
  readonly base: number
}

const WRITERS = 4

class BarePostgresServer {
  readonly #pool: pg.Pool
  readonly #sessions = new Map<WebSocket, BareSession>()
  #head = 0
  /** Frames go out in the order of their numbers. */
  #published: Promise<void> = Promise.resolve()

  private constructor(connectionString: string) {
    this.#pool = new pg.Pool({ connectionString, max: WRITERS })
  }

  static async listen({ connectionString }: PostgresServerOptions): Promise<RunningServer> {
    const bare = new BarePostgresServer(connectionString)
    await bare.#pool.query(LAYOUT)
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
    server.on('connection', (socket) => {
      socket.on('message', (data) => bare.#receive(socket, JSON.parse(data.toString())))
      socket.on('close', () => bare.#sessions.delete(socket))
    })
    return new Promise((resolve) => {
      server.on('listening', () => resolve({ port: (server.address() as { port: number }).port }))
    })
  }

  #receive(socket: WebSocket, message: Record<string, unknown>): void {
    if (message.type === 'handshake') {
      this.#sessions.set(socket, { nodeId: String(message.nodeId), position: 0 })
      socket.send('{"type":"handshake-response","messageId":"r","accepted":true}')
      socket.send(frameOf(0, 0, ''))
    } else if (message.type === 'operation-batch') {
      const operations = message.operations as Operation[]
      const base = this.#head
      this.#head += operations.length
      const nodeId = this.#sessions.get(socket)?.nodeId ?? ''
      const wireJsons = operations.map(operationToWireJson)
      const batch = { messageId: String(message.messageId), nodeId, operations, wireJsons, base }
      const written = this.#write(batch).then(() => acknowledge(socket, batch))
      this.#published = this.#published.then(() => written).then(() => this.#publish(batch))
    }
  }

  async #write({ nodeId, operations, wireJsons, base }: Batch): Promise<void> {
    const column = (name: string): unknown[] => operations.map(({ data }) => data?.[name] ?? null)
    const sequences = operations.map(({ sequenceNumber }) => sequenceNumber)
    await this.#pool.query({
      name: 'write',
      text: WRITE,
      values: [
        operations.map(({ recordId }) => recordId),
        column('title'),
        operations.map(({ data }) => (data?.completed ? 1 : 0)),
        column('userId'),
        column('position'),
        operations.map(({ timestamp }) => timestamp.wallTime),
        nodeId,
        sequences.at(-1),
        base,
        1,
        operations.map(({ id }) => Buffer.from(id, 'hex')),
        sequences,
        wireJsons,
      ],
    })
  }

  /** To all but its author, whose next frame begins where its last one ended. */
  #publish({ nodeId, wireJsons, base }: Batch): void {
    const max = base + wireJsons.length
    const operations = wireJsons.join(',')
    const shared = new Map<number, Buffer>()
    for (const [socket, session] of this.#sessions) {
      if (session.nodeId === nodeId) continue
      let frame = shared.get(session.position)
      if (frame === undefined) {
        frame = frameOf(session.position, max, operations)
        shared.set(session.position, frame)
      }
      socket.send(frame, { binary: false })
      session.position = max
    }
  }
}

function acknowledge(socket: WebSocket, { messageId, operations }: Batch): void {
  socket.send(
    JSON.stringify({
      type: 'acknowledgment',
      messageId: 'k',
      acknowledgedMessageId: messageId,
      lastSequenceNumber: operations.at(-1)?.sequenceNumber ?? 0,
    }),
  )
}

function frameOf(base: number, max: number, operations: string): Buffer {
  return Buffer.from(
    `{"type":"operation-batch","messageId":"d-${base}-${max}","operations":[${operations}],` +
      `"isFinal":true,"batchIndex":0,"baseDeliverySequence":${base},"maxDeliverySequence":${max}}`,
  )
}

serveServer((options: PostgresServerOptions) => BarePostgresServer.listen(options))
