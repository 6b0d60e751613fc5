import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { startDaemon } from '../support/daemon.ts'
import { type Device, openDevice } from '../support/device.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'

const WRITERS = 6
const KILLS = Number(process.env.KORA_TEST_KILLS ?? 5)
const MIN_LIFE_MS = 50
const MAX_LIFE_MS = 600
const TEST_MS = 60_000 + KILLS * 15_000 // restarts of a process, on a machine that runs other tests beside it

test(
  'a server killed under load loses nothing that it acknowledged',
  async () => {
    const files = { 'schema.mjs': schemaFile() }
    await using daemon = await startDaemon({ args: ['--schema', 'schema.mjs'], files })
    const devices = await Promise.all(
      Array.from({ length: WRITERS }, (_, index) =>
        openDevice({
          url: daemon.url,
          schema: todoSchema,
          name: `writer ${index}`,
          pipelineDepth: 4,
          batchSize: 10,
        }),
      ),
    )
    const writers = devices.map(writeUntilStopped)

    try {
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(MIN_LIFE_MS + Math.random() * (MAX_LIFE_MS - MIN_LIFE_MS))
        await daemon.restart('SIGKILL')
        await Promise.all(devices.map((device) => device.streaming()))
      }
      for (const writer of writers) writer.stop()
      await Promise.all(devices.map((device) => device.synced(30_000)))
      const total = devices.reduce((sum, device) => sum + device.journal.of('authored').length, 0)
      await Promise.all(
        devices.map((device) =>
          device.until(() => device.operations.length === total, `all ${total} are here`, 30_000),
        ),
      )
      await daemon.kill('SIGTERM')

      const store = createSqliteServerStore({ filename: `${daemon.directory}/kora-server.db` })
      await store.setSchema(todoSchema)
      expect(await findViolations({ store, devices, collections: ['todos'] })).toEqual([])
      expect(await store.getOperationCount()).toBe(total)
      await store.close()
    } finally {
      for (const writer of writers) writer.stop()
      await Promise.all(devices.map((device) => device.close()))
    }
  },
  TEST_MS,
)

/** Inserts and updates without pause, also while the server is gone, as people do. */
function writeUntilStopped(device: Device): { stop(): void } {
  let isStopped = false
  let previous: string | null = null
  const write = (): void => {
    if (isStopped) return
    // Bounded, because a device that is cut off for long must not outrun the others' catching up.
    if (device.pendingCount < 200) {
      const id = device.insert('todos', { title: `by ${device.journal.name}`, tags: ['load'] })
      if (previous !== null) device.update('todos', previous, { done: true })
      previous = id
    }
    setTimeout(write, 10)
  }
  write()
  return {
    stop() {
      isStopped = true
    },
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
