import { expect, test } from 'vitest'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { openTestDatabase } from '../support/postgres.ts'

const DEVICES = 4
const KILLS = Number(process.env.KORA_TEST_KILLS ?? 3)
const LIFE_MS = 700
const TIMEOUT_MS = 120_000 + KILLS * 15_000

test(
  'clients of a killed server go on at another one, and nothing acknowledged is lost',
  async () => {
    await using database = await openTestDatabase()
    await using cluster = await startCluster({ database, servers: 2 })
    const devices = await cluster.openDevices(DEVICES)
    const writers = writeUntilStopped(devices)

    try {
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(LIFE_MS)
        const daemon = cluster.daemon(kill % 2)
        await daemon.kill('SIGKILL')
        await Promise.all(devices.map((device) => device.streaming()))
        await daemon.start()
      }
    } finally {
      writers.stop()
    }

    expect(await cluster.findViolations()).toEqual([])
  },
  TIMEOUT_MS,
)

test('connections that are cut, slow or silently dead lose nothing', async () => {
  await using database = await openTestDatabase()
  await using cluster = await startCluster({ database, servers: 2 })
  const devices = await cluster.openDevices(DEVICES)
  const writers = writeUntilStopped(devices)

  try {
    await sleep(LIFE_MS)
    cluster.proxy.cut()
    cluster.proxy.delayMs = 50
    await sleep(LIFE_MS)
    cluster.proxy.isHalfOpen = true
    await sleep(LIFE_MS)
    cluster.proxy.cut() // as a client that notices
    cluster.proxy.isHalfOpen = false
    cluster.proxy.delayMs = 0
    await sleep(LIFE_MS)
  } finally {
    writers.stop()
  }

  expect(await cluster.findViolations()).toEqual([])
}, 120_000)

test('a server that is told to stop hands its clients over without a loss', async () => {
  await using database = await openTestDatabase()
  await using cluster = await startCluster({ database, servers: 2 })
  const devices = await cluster.openDevices(DEVICES)
  const writers = writeUntilStopped(devices)

  await sleep(LIFE_MS)
  const exit = await cluster.daemon(0).kill('SIGTERM')
  await Promise.all(devices.map((device) => device.streaming()))
  await sleep(LIFE_MS)
  writers.stop()

  expect(exit.code).toBe(0)
  expect(await cluster.findViolations()).toEqual([])
}, 120_000)
