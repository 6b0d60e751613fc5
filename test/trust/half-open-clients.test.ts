import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { sleep } from '../support/cluster.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { ADMIN_TOKEN } from '../support/health.ts'
import { SocketClient } from '../support/socket-client.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CLIENTS = 500
const PRESENT = 20
/** Opened side by side. */
const AT_ONCE = 50
const IDLE_TIMEOUT_MS = sized(6000, 45_000) // two ping intervals
const BUSY_MACHINE_MS = sized(10_000, 300) // on top of what is promised: other tests run beside; for us to look
const OTHER_DESCRIPTORS = 5 // of requests and files, that come and go
/** Each way; a pong is back well before the next ping. */
const SLOW_MS = IDLE_TIMEOUT_MS / 9

test(
  'connections that are silently dead are gone after two pings, with all that was theirs; slow ones stay',
  async () => {
    await using daemon = await startDaemon({
      files: {
        'kora.config.json': JSON.stringify({ limits: { idleTimeout: `${IDLE_TIMEOUT_MS}ms` } }),
      },
      env: { KORA_ADMIN_TOKEN: ADMIN_TOKEN },
    })
    const target = { port: Number(new URL(daemon.url).port) }
    await using dying = await openTcpProxy([target])
    await using slow = await openTcpProxy([target])
    await using watcher = await openDevice({ url: daemon.url, name: 'watcher' })
    const slowClients = await openClients(slow.port, 'slow')
    slow.delayMs = SLOW_MS
    const before = { sessions: await sessionCount(daemon), descriptors: descriptorCount(daemon) }
    const dyingClients = await openClients(dying.port, 'dying')
    await watcher.until(() => watcher.peers.size === 2 * PRESENT, 'it sees who is there')

    dying.isHalfOpen = true
    const deadAt = performance.now()
    const boundMs = IDLE_TIMEOUT_MS + BUSY_MACHINE_MS
    await watcher.until(() => watcher.peers.size === PRESENT, 'the dead are not shown any more', boundMs)
    const unshownMs = performance.now() - deadAt
    const elapsedMs = (): number => performance.now() - deadAt
    while ((await sessionCount(daemon)) > before.sessions && elapsedMs() < boundMs) await sleep(100)
    const goneMs = elapsedMs()
    const hasDescriptors = (): boolean => descriptorCount(daemon) > before.descriptors + OTHER_DESCRIPTORS
    while (hasDescriptors() && elapsedMs() < boundMs) await sleep(100)
    const closedMs = elapsedMs()
    await sleep(IDLE_TIMEOUT_MS) // time enough for a slow one to be taken for dead

    expect(goneMs).toBeLessThan(boundMs)
    expect(closedMs).toBeLessThan(boundMs)
    expect(await sessionCount(daemon)).toBe(before.sessions)
    expect(hasDescriptors()).toBe(false)
    expect(slowClients.filter((client) => client.isEnded)).toEqual([])
    expect(watcher.peers.size).toBe(PRESENT)
    reportFigures('half-open clients', {
      'dead connections': CLIENTS,
      'ms of idle timeout': IDLE_TIMEOUT_MS,
      'ms until their presence was gone': Math.round(unshownMs),
      'ms until their sessions were gone': Math.round(goneMs),
      'ms until their descriptors were gone': Math.round(closedMs),
      'false closes among as many slow ones': slowClients.filter((client) => client.isEnded).length,
    })
    for (const client of [...slowClients, ...dyingClients]) client.socket.terminate()
  },
  timeoutMs(120_000),
)

/** Clients with a session each, some of which show themselves. */
async function openClients(port: number, kind: string): Promise<SocketClient[]> {
  const clients: SocketClient[] = []
  while (clients.length < CLIENTS) {
    const names = Array.from({ length: AT_ONCE }, (_, i) => `${kind} ${clients.length + i}`)
    clients.push(...(await Promise.all(names.map((name) => openClient(port, name)))))
  }
  for (const [i, client] of clients.slice(0, PRESENT).entries()) {
    client.send({
      type: 'awareness-update',
      messageId: 'p',
      clientId: 1,
      states: { 1: { user: { name: `${kind} ${i}`, color: '#2563eb' } } },
    })
  }
  return clients
}

async function openClient(port: number, nodeId: string): Promise<SocketClient> {
  const client = await new SocketClient(`ws://127.0.0.1:${port}/`).opened()
  client.send({
    type: 'handshake',
    messageId: 'h',
    nodeId,
    versionVector: {},
    schemaVersion: 1,
    lastDeliverySequence: 0,
  })
  await client.until(() => client.ofType('operation-batch').length > 0)
  return client
}

async function sessionCount({ httpUrl }: Daemon): Promise<number> {
  const response = await fetch(`${httpUrl}/__kora/status`, {
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' },
  })
  const { connectedClients } = (await response.json()) as { connectedClients: number }
  return connectedClients
}

function descriptorCount({ pid }: Daemon): number {
  return readdirSync(`/proc/${pid}/fd`).length
}
