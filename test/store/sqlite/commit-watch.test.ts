import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Logger } from '../../../src/core/logger.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { KoraSyncServer } from '../../../src/http/kora-sync-server.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

/** Another program writes over the head of the file: no connection can read it from then on. */
function ruin(filename: string): void {
  const other = new (loadSqliteDriver())(filename)
  other.exec('CREATE TABLE other (a)')
  other.pragma('wal_checkpoint(TRUNCATE)')
  const file = openSync(filename, 'r+')
  writeSync(file, Buffer.alloc(100, 1), 0, 100, 0)
  closeSync(file)
  other.close()
}

test('a file that cannot be asked any more ends nothing: those who listen look for themselves', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const runtime = simulatedRuntime()
  const store = createSqliteServerStore({ filename, runtime })
  let commits = 0
  const end = store.onCommit(() => commits++)
  await runtime.advance(3000)
  expect(commits).toBe(0)

  ruin(filename)
  await runtime.advance(3000)

  expect(commits).toBe(3)
  end()
  await store.close()
})

test('a server on such a file says so, and goes on', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const runtime = simulatedRuntime()
  const store = createSqliteServerStore({ filename, runtime })
  const errors: unknown[] = []
  const logger: Logger = { ...silentLogger, error: (...said: unknown[]) => void errors.push(said.at(-1)) }
  const server = new KoraSyncServer({ store, runtime, logger })
  await server.hub.open()

  ruin(filename)
  await runtime.advance(1500)
  await settle()

  expect(errors).toContain('reading new operations from the store failed; delivery waits')
  await server.stop()
  await store.close()
})
