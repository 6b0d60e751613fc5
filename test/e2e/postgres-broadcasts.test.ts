import { expect, test } from 'vitest'
import { createPostgresServerStore } from '../../src/index.ts'
import { type ClientBlob, makeBlob } from '../support/blobs.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, openDevice } from '../support/device.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { SECRET, secretBytes, sign } from '../support/tokens.ts'

const JWT_CONFIG = `export default { auth: { mode: 'jwt', jwt: { secret: '${SECRET}' } } }\n`

async function startServers(
  database: TestDatabase,
  count: number,
  files: { readonly [name: string]: string } = {},
) {
  const env = { DATABASE_URL: database.connectionString }
  const daemons = await Promise.all(Array.from({ length: count }, () => startDaemon({ files, env })))
  return {
    daemons: daemons as [Daemon, Daemon, ...Daemon[]],
    async [Symbol.asyncDispose]() {
      await Promise.all(daemons.map((daemon) => daemon[Symbol.asyncDispose]()))
    },
  }
}

/** Answers as a client does that has all of the blob. */
function holdBlob(device: Device, blob: ClientBlob) {
  const parts = new Map([...blob.chunks, blob.manifest].map(({ hash, bytes }) => [hash, bytes]))
  let seen = 0
  let isSilent = false
  let askedCount = 0
  const timer = setInterval(() => {
    for (const message of device.messages.slice(seen)) {
      seen++
      if (message.type !== 'blob-chunk-request') continue
      askedCount++
      const { requestId, hash } = message
      const bytes = parts.get(hash)?.toString('base64') ?? null
      if (!isSilent) {
        device.send({
          type: 'blob-chunk-response',
          messageId: device.nextMessageId(),
          requestId,
          bytes,
        })
      }
    }
  }, 20)
  return {
    get askedCount() {
      return askedCount
    },
    set isSilent(silent: boolean) {
      isSilent = silent
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}

function ask(device: Device, requestId: string, hash: string): void {
  device.send({ type: 'blob-chunk-request', messageId: device.nextMessageId(), requestId, hash })
}

/** undefined: not answered yet */
function answerTo(device: Device, requestId: string): string | null | undefined {
  for (const message of device.messages) {
    if (message.type === 'blob-chunk-response' && message.requestId === requestId) return message.bytes
  }
  return undefined
}

test('content that a client of one server holds reaches a client of another, and a third when the first dies', async () => {
  await using database = await openTestDatabase()
  await using servers = await startServers(database, 3)
  const [first, second, third] = servers.daemons
  if (third === undefined) throw new Error('Three servers were started')
  const blob = makeBlob('a photo that only its author holds, and no server')
  const [, chunk] = blob.chunks
  if (chunk === undefined) throw new Error('The blob has chunks')
  await using holder = await openDevice({ url: first.url, name: 'holder' })
  using held = holdBlob(holder, blob)
  await using reader = await openDevice({ url: second.url, name: 'reader' })
  const id = holder.insert('photos', { file: blob.ref })
  await reader.until(() => reader.record('photos', id) !== null, 'the record is there')
  const manifest = blob.manifest.bytes.toString('base64')

  // Servers know of each other a moment after they have started; until then nobody has it.
  let round = 0
  await expect
    .poll(
      async () => {
        const requestId = `manifest ${++round}`
        ask(reader, requestId, blob.manifest.hash)
        await reader.until(() => answerTo(reader, requestId) !== undefined, 'it is answered', 35_000)
        return answerTo(reader, requestId)
      },
      { timeout: 40_000, interval: 200 },
    )
    .toBe(manifest)

  held.isSilent = true
  const asked = held.askedCount
  ask(reader, 'while it dies', chunk.hash)
  await expect.poll(() => held.askedCount, { timeout: 20_000 }).toBeGreaterThan(asked)
  await first.kill('SIGKILL')
  held.isSilent = false
  holder.goOffline()
  await using moved = await openDevice({ url: third.url, name: 'the holder, moved' })
  using _heldOn = holdBlob(moved, blob)
  await moved.until(() => moved.record('photos', id) !== null, 'the record is there')
  ask(reader, 'afterwards', chunk.hash)

  await reader.until(() => answerTo(reader, 'afterwards') !== undefined, 'it is answered')
  expect(answerTo(reader, 'afterwards')).toBe(chunk.bytes.toString('base64'))
  await reader.until(() => answerTo(reader, 'while it dies') !== undefined, 'it waits no longer', 40_000)
}, 120_000)

test('a revocation ends the sessions on every server at once', async () => {
  await using database = await openTestDatabase()
  await using servers = await startServers(database, 2, { 'kora.config.mjs': JWT_CONFIG })
  const iat = Math.floor(Date.now() / 1000) - 5
  const token = await sign({ sub: 'ada', iat, exp: iat + 3600 }, { alg: 'HS256' }, secretBytes())
  const devices = await Promise.all(
    servers.daemons.map(({ url }, index) => openDevice({ url, name: `ada ${index}`, token })),
  )
  const closedWith4012 = (device: Device) => device.journal.of('closed').some(({ code }) => code === 4012)

  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await store.revoke({ kind: 'user', value: 'ada' }, Date.now())
  await store.close() // the process that revokes is gone before anybody has asked

  await Promise.all(
    devices.map((device) => device.until(() => closedWith4012(device), 'its session has ended', 20_000)),
  )
  await Promise.all(devices.map((device) => device.close()))
}, 60_000)

test('a backup that is put in the place of the log makes the clients of every server come back', async () => {
  await using database = await openTestDatabase()
  await using servers = await startServers(database, 2)
  const devices = await Promise.all(
    servers.daemons.map(({ url }, index) => openDevice({ url, name: `device ${index}` })),
  )
  const [author, other] = devices
  if (author === undefined || other === undefined) throw new Error('Two devices were opened')
  const kept = author.insert('todos', { title: 'in the backup' })
  await other.until(() => other.record('todos', kept) !== null, 'the record is there')
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  const backup = await store.exportBackup()

  await store.importBackup(backup)
  await store.close()

  await Promise.all(
    devices.map((device) =>
      device.until(() => device.journal.of('closed').length > 0, 'its session has ended', 20_000),
    ),
  )
  await Promise.all(devices.map((device) => device.streaming(20_000)))
  const later = other.insert('todos', { title: 'after the restore' })
  await author.until(() => author.record('todos', later) !== null, 'what comes later arrives', 20_000)
  await Promise.all(devices.map((device) => device.close()))
}, 60_000)
