import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { OperationsEvents } from '../../src/http/operations/events.ts'
import { SyncService } from '../../src/http/sync-service.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'

/** A response whose reader takes nothing, without the megabytes that a real socket swallows first. */
class StuckResponse extends EventEmitter {
  writableLength = 0
  isDestroyed = false

  writeHead(): void {}

  write(text: string): void {
    this.writableLength += text.length
  }

  destroy(): void {
    this.isDestroyed = true
  }
}

test('a reader of events that does not read is dropped before it costs memory', async () => {
  const runtime = simulatedRuntime()
  const service = new SyncService({ store: new MemoryServerStore() }, { runtime, logger: silentLogger })
  const events = new OperationsEvents(() => service.hub, runtime)
  const reader = new StuckResponse()

  expect(events.add(reader as unknown as ServerResponse)).toBe(true)
  await runtime.advance(60_000)
  expect(reader.isDestroyed).toBe(false)
  await runtime.advance(3_600_000)

  expect(reader.isDestroyed).toBe(true)
  expect(reader.writableLength).toBeLessThan(300 * 1024)
})
