import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { Bystander } from '../support/bystander.ts'
import { startDaemon } from '../support/daemon.ts'
import { memoryOf } from '../support/process-memory.ts'
import { handshakeOf } from '../support/socket-client.ts'
import { schemaFile } from '../support/todo-app.ts'
import { IS_FULL, percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CONNECTIONS = sized(1000, 10_000)
const CONFIG = { schema: './schema.mjs', limits: { maxOpsPerMinute: 0 } }
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

/** Of an app that shows nothing of what others write: who is told of it is not idle. */
async function connectIdle(url: string, number: number): Promise<WebSocket> {
  const socket = new WebSocket(url).on('error', () => {})
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(JSON.stringify(handshakeOf(`node-${number}`, {}, { syncScope: { projects: {} } })))
  await once(socket, 'message')
  return socket
}

interface Idle extends Disposable {
  /** What the server needs for each of them. */
  readonly bytesEach: number
}

async function openIdle(url: string, pid: number): Promise<Idle> {
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
  const before = memoryOf(pid).rssBytes
  await open(WARM_UP + CONNECTIONS)
  const after = memoryOf(pid).rssBytes
  expect(sockets.filter(({ readyState }) => readyState !== WebSocket.OPEN)).toEqual([])
  return {
    bytesEach: (after - before) / CONNECTIONS,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.terminate()
    },
  }
}

async function bytesEachOfBareServer(): Promise<number> {
  const { child, url } = await startBareServer()
  try {
    using idle = await openIdle(url, child.pid ?? 0)
    return idle.bytesEach
  } finally {
    child.kill()
  }
}

test(
  'idle connections take at most twice the memory that they take of a bare WebSocket server, and delay nobody',
  async () => {
    const bare = await bytesEachOfBareServer()
    await using daemon = await startDaemon({
      files: { 'kora.config.json': JSON.stringify(CONFIG), 'schema.mjs': schemaFile() },
    })
    using idle = await openIdle(daemon.url, daemon.pid)
    const ours = idle.bytesEach
    await using pair = await Bystander.start({
      url: daemon.url,
      token: '',
      maxWaitMs: 20_000,
      task: 'deliver',
    })
    const { waitsMs, closes } = await pair.during(() => sleep(sized(500, 30_000)))
    const waitMs = percentile(waitsMs, 0.99)

    reportFigures('idle connections', {
      connections: CONNECTIONS,
      'kB each': Math.round(ours / 100) / 10,
      'kB each of a bare server': Math.round(bare / 100) / 10,
      'from one device to another meanwhile, p99, ms': waitMs,
    })
    // Few connections hide behind what a process takes at its own pace: it gets 25 kB for each of them.
    expect(ours).toBeLessThan(2 * bare + (IS_FULL ? 0 : 25_000))
    expect(waitMs).toBeLessThan(sized(5000, 50))
    expect(closes).toBe(0)
  },
  timeoutMs(60_000),
)
