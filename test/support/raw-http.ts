import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export const UPGRADE_HEADERS =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

/** Requests that no client sends, by what is wrong with them. */
export const HOSTILE_REQUESTS: { readonly [what: string]: string } = {
  'a host that is no host': 'GET /health HTTP/1.1\r\nHost: [\r\n\r\n',
  'no host': 'GET /health HTTP/1.1\r\n\r\n',
  'two hosts': 'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
  'an absolute target': 'GET http://evil.test/health HTTP/1.1\r\nHost: a\r\n\r\n',
  'an absolute target that is no URL': 'GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n',
  'a target of two slashes': 'GET // HTTP/1.1\r\nHost: a\r\n\r\n',
  'a target of two slashes and a host': 'GET //evil.test/health HTTP/1.1\r\nHost: a\r\n\r\n',
  'a target of a star': 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
  'a broken escape': 'GET /%zz%ff HTTP/1.1\r\nHost: a\r\n\r\n',
  'a NUL in the path': 'GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n',
  'a broken query': 'GET /kora-sync?client=%E0%A4%A&client=2&__proto__=1 HTTP/1.1\r\nHost: a\r\n\r\n',
  'a long path': `GET /${'a'.repeat(15_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'two thousand headers': `GET /health HTTP/1.1\r\nHost: a\r\n${'a: b\r\n'.repeat(2000)}\r\n`,
  'a header of a megabyte': `GET /health HTTP/1.1\r\nHost: a\r\nx: ${'y'.repeat(1_000_000)}\r\n\r\n`,
  'a negative length': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n',
  'two lengths': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
  'length and chunks': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a broken chunk': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  'a body that says it is too long': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n{}',
  'an unknown method': 'PROPFIND /kora-sync HTTP/1.1\r\nHost: a\r\n\r\n',
  'a method that is none': 'FOO /kora-sync HTTP/1.1\r\nHost: a\r\n\r\n',
  'a tunnel': 'CONNECT evil.test:443 HTTP/1.1\r\nHost: a\r\n\r\n',
  'a trace': 'TRACE /kora-sync HTTP/1.1\r\nHost: a\r\n\r\n',
  'another protocol': 'SSH-2.0-OpenSSH_9.0\r\n',
  'a TLS hello': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'an expectation': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nExpect: the-worst\r\nContent-Length: 2\r\n\r\n{}',
  'an upgrade at a wrong path': `GET /nowhere HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\n`,
  'an upgrade with a host that is no host': `GET /kora-sync HTTP/1.1\r\nHost: [\r\n${UPGRADE_HEADERS}\r\n`,
  'an upgrade of an absolute target': `GET http://[/kora-sync HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\n`,
  'an upgrade without a key': 'GET /kora-sync HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
  'an upgrade by POST': `POST /kora-sync HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n${UPGRADE_HEADERS}\r\n{}`,
  'an upgrade of an old version': `GET /kora-sync HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS.replace('13', '7')}\r\n`,
  'an upgrade to something else': 'POST /kora-sync HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n',
  'an upgrade and then no frame': `GET /kora-sync HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\nGET / HTTP/1.1\r\n\r\n`,
  'an upgrade and a reserved frame': `GET /kora-sync HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\n\xff\xff\xff\xff\xff`,
  'pipelined requests': 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(200),
  'pipelined requests and an upgrade': `${'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(20)}GET /kora-sync HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\n`,
  'a pipelined upgrade to something else': `${'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3)}GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
  'an authorization that is none': 'GET /__kora/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\r\n\r\n',
  'a cookie without end': `GET /kora-sync HTTP/1.1\r\nHost: a\r\nCookie: ${'a=b;'.repeat(3000)}\r\n\r\n`,
} // biome-ignore format: one line each

/** Sends bytes, and reads what comes back until the server hangs up or has nothing more to say. */
export async function exchange(
  port: number,
  bytes: string,
  ending: 'wait' | 'reset' = 'wait',
  waitMs = 150,
): Promise<string> {
  const socket: Socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', (data) => {
    answer += data.toString('latin1')
  })
  socket.on('error', () => {}) // the server may hang up at any time
  await once(socket, 'connect')
  socket.write(Buffer.from(bytes, 'latin1'))
  if (ending === 'reset') {
    await sleep(1)
    socket.resetAndDestroy()
    return answer
  }
  await Promise.race([once(socket, 'close').catch(() => {}), sleep(waitMs)])
  socket.destroy()
  return answer
}
