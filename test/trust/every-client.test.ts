import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { sleep, writeUntilStopped } from '../support/cluster.ts'
import { startDaemon } from '../support/daemon.ts'
import { type Device, type DeviceOptions, openDevice } from '../support/device.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const LOAD_MS = sized(30_000, 600_000)
const CUT_INTERVAL_MS = sized(1500, 5000)
const CALM_MS = 10_000
const BUSY_MACHINE_MS = sized(20_000, 0) // on top of what is promised, where other tests run beside

test(
  'clients of every kind, behind a network that comes and goes, agree once it stays',
  async () => {
    const random = randomOf(seedOf('every client'))
    await using daemon = await startDaemon({
      args: ['--schema', 'schema.mjs'],
      files: { 'schema.mjs': schemaFile() },
    })
    await using proxy = await openTcpProxy([{ port: Number(new URL(daemon.url).port) }])
    const url = `ws://127.0.0.1:${proxy.port}/`
    const devices = await Promise.all(kindsAt(url).map((options) => openDevice(options)))
    const writers = writeUntilStopped(devices, sized(80, 1000))

    let cuts = 0
    const startedAt = performance.now()
    while (performance.now() - startedAt < LOAD_MS) {
      proxy.delayMs = random() < 0.5 ? 0 : Math.floor(random() * 200)
      await sleep(CUT_INTERVAL_MS * random())
      if (random() < 0.3) {
        proxy.isHalfOpen = true
        await sleep(CUT_INTERVAL_MS * random())
      }
      proxy.cut()
      proxy.isHalfOpen = false
      cuts++
    }
    proxy.delayMs = 0
    writers.stop()
    const calmAt = performance.now()
    await untilTheyHaveAll(devices, CALM_MS + BUSY_MACHINE_MS)
    const convergedMs = performance.now() - calmAt

    const store = createSqliteServerStore({ filename: `${daemon.directory}/kora-server.db`, readOnly: true })
    const operations = await store.getOperationCount()
    const violations = await findViolations({ store, devices, collections: ['todos'], isAtRest: true })
    await Promise.all(devices.map((device) => device.close()))
    await store.close()
    expect(violations).toEqual([])
    expect(operations).toBe(authoredIds(devices).length)
    expect(convergedMs).toBeLessThan(CALM_MS + BUSY_MACHINE_MS)
    reportFigures('clients of every kind behind a flapping network', {
      clients: devices.length,
      cuts,
      operations,
      'ms of calm until all agree': Math.round(convergedMs),
    })
  },
  timeoutMs(180_000),
)

/** Two of each kind that there is: of each transport, each format, with and without watermarks. */
function kindsAt(url: string): DeviceOptions[] {
  const shared = { url, schema: todoSchema, ackTimeoutMs: 3000 }
  const protobuf = { wireFormat: 'protobuf' } as const
  const pollingUrl = () => `${url.replace('ws:', 'http:')}?client=${crypto.randomUUID()}`
  return ['first', 'second'].flatMap((which) => [
    { ...shared, name: `${which} websocket` },
    { ...shared, name: `${which} protobuf`, ...protobuf },
    { ...shared, name: `${which} polling`, url: pollingUrl() },
    { ...shared, name: `${which} polling protobuf`, url: pollingUrl(), ...protobuf },
    { ...shared, name: `${which} legacy`, isLegacy: true },
    { ...shared, name: `${which} legacy protobuf`, isLegacy: true, ...protobuf },
    { ...shared, name: `${which} legacy polling`, url: pollingUrl(), isLegacy: true },
    { ...shared, name: `${which} legacy polling protobuf`, url: pollingUrl(), isLegacy: true, ...protobuf },
  ])
}

async function untilTheyHaveAll(devices: readonly Device[], boundMs: number): Promise<void> {
  await Promise.all(devices.map((device) => device.synced(boundMs)))
  const ids = authoredIds(devices)
  await Promise.all(
    devices.map((device) =>
      device.until(() => ids.every((id) => device.has(id)), `all ${ids.length} are here`, boundMs),
    ),
  )
}

function authoredIds(devices: readonly Device[]): string[] {
  return devices.flatMap(({ journal }) => journal.of('authored').map(({ operation }) => operation.id))
}
