import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { startDaemon } from '../support/daemon.ts'
import { handshakeOf } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CONNECTIONS = sized(1000, 10_000)
const WARM_UP = 50 // what the first connections load is not theirs

/** A WebSocket server that does nothing, as a process of its own. */
const BARE = `
import { WebSocketServer } from 'ws'
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false })
server.on('connection', (socket) => socket.on('message', () => socket.send('{}')))
server.on('listening', () => console.log(server.address().port))
`

async function startBareServer(): Promise<{ child: ChildProcess; url: string }> {
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const child = spawn(process.execPath, ['--input-type=module', '-e', BARE], { cwd })
  const [port] = await once(child.stdout, 'data')
  return { child, url: `ws://127.0.0.1:${String(port).trim()}/` }
}

function rssBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

async function connectIdle(url: string, number: number): Promise<WebSocket> {
  const socket = new WebSocket(url).on('error', () => {})
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(JSON.stringify(handshakeOf(`node-${number}`)))
  await once(socket, 'message')
  return socket
}

/** @returns bytes that a server needs for each of its idle connections */
async function bytesPerConnection(url: string, pid: number): Promise<number> {
  const sockets: WebSocket[] = []
  const open = async (count: number): Promise<void> => {
    while (sockets.length < count) {
      const numbers = Array.from(
        { length: Math.min(50, count - sockets.length) },
        (_, i) => sockets.length + i,
      )
      sockets.push(...(await Promise.all(numbers.map((number) => connectIdle(url, number)))))
    }
  }
  await open(WARM_UP)
  const before = rssBytes(pid)
  await open(WARM_UP + CONNECTIONS)
  const after = rssBytes(pid)
  expect(sockets.filter(({ readyState }) => readyState !== WebSocket.OPEN)).toEqual([])
  for (const socket of sockets) socket.terminate()
  return (after - before) / CONNECTIONS
}

test(
  'an idle connection takes at most twice the memory that it takes of a bare WebSocket server',
  async () => {
    const { child, url } = await startBareServer()
    const bare = await bytesPerConnection(url, child.pid ?? 0).finally(() => child.kill())
    await using daemon = await startDaemon()
    const ours = await bytesPerConnection(daemon.url, daemon.pid)

    reportFigures('idle connections', {
      connections: CONNECTIONS,
      'kB each': Math.round(ours / 100) / 10,
      'kB each of a bare server': Math.round(bare / 100) / 10,
    })
    // Few connections hide behind what a process takes at its own pace: only many are compared.
    if (CONNECTIONS >= 10_000) expect(ours / bare).toBeLessThan(2)
    else expect(ours).toBeLessThan(300_000)
  },
  timeoutMs(60_000),
)
