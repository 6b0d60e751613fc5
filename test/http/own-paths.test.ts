import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { createKoraServer } from '../../src/http/kora-sync-server.ts'
import { createProductionServer } from '../../src/http/production-server.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'

const OWN =
  'is a path of the server itself (/health, /ready, all of /__kora); choose another, such as "/sync".'

describe('sync is refused, with what to do,', () => {
  test.each([
    ['/health', OWN],
    ['/ready', OWN],
    ['/__kora', OWN],
    ['/__kora/status', OWN],
    ['/*', 'has a "*", but clients connect to one path; choose one, such as "/sync".'],
    ['sync', 'does not begin with "/"; write it as in "/sync".'],
  ])('at %s', (path, problem) => {
    const options = { store: new MemoryServerStore(), logger: silentLogger }
    const error = { code: 'CONFIG_INVALID', message: `The sync path "${path}" ${problem}` }

    expect(() => createKoraServer({ ...options, path })).toThrow(expect.objectContaining(error))
    expect(() => createProductionServer({ ...options, syncPath: path })).toThrow(
      expect.objectContaining(error),
    )
  })
})

test.each(['/', '/__korax', '/health/sync', '/a:b'])('sync is served at %s', async (path) => {
  const server = createKoraServer({
    store: new MemoryServerStore(),
    logger: silentLogger,
    host: '127.0.0.1',
    port: 0,
    path,
  })

  await server.start()
  const { status } = await fetch(server.url?.replace(/^ws/, 'http') ?? '', { method: 'OPTIONS' })
  await server.stop()

  expect(status).toBe(204)
})
