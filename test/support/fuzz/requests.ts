import { once } from 'node:events'
import { connect } from 'node:net'
import { HOSTILE_REQUESTS, UPGRADE_HEADERS } from '../raw-http.ts'
import type { Mutator } from './mutator.ts'

/** What operators are answered at once, with a token. */
export const OPERATOR_PATHS: readonly string[] = [
  '/__kora',
  '/__kora/status',
  '/__kora/metrics',
  '/__kora/backup/export',
  '/__kora/api/overview',
  '/__kora/api/records?collection=todos&where={}',
]

/** At which a mutated request is aimed: what the daemon serves, and what it does not. */
const PATHS: readonly string[] = [
  '/',
  '/?client=a',
  '/health',
  '/ready',
  ...OPERATOR_PATHS,
  '/__kora/events',
  '/__kora/backup/import?mode=merge',
  '/__kora/assets/x.js',
  '/index.html',
  '/.well-known/x',
  '/%2e%2e/%2e%2e/etc/passwd',
  '//',
  '/%',
  '*',
  'http://[',
  '/\\..\\..',
]

const HANDSHAKE = JSON.stringify({
  type: 'handshake',
  messageId: 'h',
  nodeId: 'n',
  versionVector: {},
  schemaVersion: 1,
  lastDeliverySequence: 0,
})

const ORDINARY: readonly string[] = PATHS.flatMap((path) => [
  `GET ${path} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n`,
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${HANDSHAKE.length}\r\n\r\n${HANDSHAKE}`,
  `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nIf-None-Match: W/"1"\r\nRange: bytes=0-\r\n\r\n`,
  `GET ${path} HTTP/1.1\r\nHost: a\r\nOrigin: null\r\n${UPGRADE_HEADERS}\r\n\x81\x85\x01\x02\x03\x04abcde`,
])

const REQUESTS = [
  ...ORDINARY,
  ...Object.values(HOSTILE_REQUESTS).filter(({ length }) => length < 20_000),
].map((text) => Buffer.from(text, 'latin1'))

const HEADERS: readonly string[] = [
  'Host: [',
  'Host: ',
  'Host: a, b',
  'Host: \x01',
  'Content-Length: 18446744073709551616',
  'Content-Length: 1, 1',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: identity',
  'Expect: 100-continue',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Connection: upgrade',
  'Connection: close, keep-alive',
  'Sec-WebSocket-Key: x',
  'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99',
  'Sec-WebSocket-Protocol: ,',
  'Sec-WebSocket-Version: -1',
  'X-Forwarded-For: [::1',
  'Forwarded: for=',
  'Cookie: kora-client=; kora-client',
  'Authorization: Bearer',
  'Authorization: Bearer \xff\xfe',
  'Accept: text/html',
  'Accept-Encoding: br;q=x, gzip',
  'If-Modified-Since: never',
  'Range: bytes=-1--2',
  'Origin: null',
  'Content-Type: application/x-protobuf',
  'Content-Type: ;;;',
  `X: ${'y'.repeat(3000)}`,
]

/** One to three requests in a row, each with changed bytes or with headers that do not belong there. */
export function mutatedRequest(mutator: Mutator): Buffer {
  return Buffer.concat(Array.from({ length: 1 + mutator.below(3) }, () => oneRequest(mutator)))
}

function oneRequest(mutator: Mutator): Buffer {
  const request = mutator.pick(REQUESTS)
  if (mutator.random() < 0.5) return mutator.bytes(request, REQUESTS)
  const end = request.indexOf('\r\n')
  const headers = Array.from({ length: 1 + mutator.below(4) }, () => mutator.pick(HEADERS)).join('\r\n')
  return Buffer.concat([
    request.subarray(0, end),
    Buffer.from(`\r\n${headers}`, 'latin1'),
    request.subarray(end),
  ])
}

const ANSWER_MS = 20
const GIVE_UP_MS = 20_000 // the machine may be busy with other tests

/**
 * Sends a request on a connection of its own, now in one piece, now in two, and ends it: by a reset
 * in the middle, or once there is an answer. Where none has come for a moment, as to half of a request, it says that
 * no more follows, which the server can only see once it has read the rest.
 *
 * @returns what it has come to
 */
export async function throwRequest(
  port: number,
  bytes: Buffer,
  mutator: Mutator,
): Promise<'reset' | 'answered' | 'closed' | 'silence'> {
  const cut = mutator.below(bytes.length + 1)
  const [first, second] =
    mutator.random() < 0.5 ? [bytes, null] : [bytes.subarray(0, cut), bytes.subarray(cut)]
  const isReset = mutator.random() < 0.3
  const socket = connect(port, '127.0.0.1').on('error', () => {}) // the server may hang up at any time
  await once(socket, 'connect')
  socket.write(first)
  if (second !== null) {
    await new Promise((resolve) => setImmediate(resolve))
    socket.write(second)
  }
  const outcome = isReset ? 'reset' : await answerOf(socket)
  socket.resetAndDestroy()
  return outcome
}

function answerOf(socket: ReturnType<typeof connect>): Promise<'answered' | 'closed' | 'silence'> {
  return new Promise((resolve) => {
    const endTimer = setTimeout(() => socket.end(), ANSWER_MS)
    const timer = setTimeout(() => resolve('silence'), GIVE_UP_MS)
    const settle = (outcome: 'answered' | 'closed'): void => {
      clearTimeout(endTimer)
      clearTimeout(timer)
      resolve(outcome)
    }
    socket.once('data', () => settle('answered'))
    socket.once('close', () => settle('closed'))
  })
}
