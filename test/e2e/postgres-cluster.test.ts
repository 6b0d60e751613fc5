import { expect, test } from 'vitest'
import { sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { openTestDatabase } from '../support/postgres.ts'

test('three servers that start at once on an empty database serve many writers as one', async () => {
  await using database = await openTestDatabase()
  await using cluster = await startCluster({ database, servers: 3 })
  const writers = writeUntilStopped(await cluster.openDevices(9), 30)

  await sleep(3000)
  writers.stop()

  expect(cluster.authoredCount).toBeGreaterThan(9)
  expect(await cluster.findViolations()).toEqual([])
}, 180_000)

test('presence reaches the clients of every server, and goes with a server that dies', async () => {
  await using database = await openTestDatabase()
  await using cluster = await startCluster({ database, servers: 2 })
  const [here] = await cluster.openDevices(1, cluster.daemon(0).url)
  const [there] = await cluster.openDevices(1, cluster.daemon(1).url)
  if (here === undefined || there === undefined) throw new Error('Two devices were opened')
  const namesSeenBy = (device: typeof here) => [...device.peers.values()].map(({ user }) => user.name)

  here.setPresence({ user: { name: 'Ada', color: '#2563eb' } })
  there.setPresence({ user: { name: 'Grace', color: '#dc2626' } })
  await here.until(() => namesSeenBy(here).includes('Grace'), 'it sees the other server’s client', 15_000)
  await there.until(() => namesSeenBy(there).includes('Ada'), 'it sees the other server’s client', 15_000)

  await cluster.daemon(1).kill('SIGKILL')
  await here.until(() => namesSeenBy(here).length === 0, 'presence of the dead server is gone', 25_000)
}, 90_000)

test('what is typed into a document reaches the clients of the other server before it is stored', async () => {
  await using database = await openTestDatabase()
  await using cluster = await startCluster({ database, servers: 2 })
  const [here] = await cluster.openDevices(1, cluster.daemon(0).url)
  const [there] = await cluster.openDevices(1, cluster.daemon(1).url)
  if (here === undefined || there === undefined) throw new Error('Two devices were opened')
  const id = here.insert('todos', { title: 'a document' })
  await there.until(() => there.record('todos', id) !== null, 'the record is there')
  const update = Buffer.alloc(40_000, 7).toString('base64') // several notifications

  // Nobody is told before the servers know of each other.
  const typing = setInterval(() => {
    here.send({
      type: 'yjs-doc-update',
      messageId: here.nextMessageId(),
      collection: 'todos',
      recordId: id,
      field: 'notes',
      update,
    })
  }, 200)
  try {
    const isHere = () =>
      there.messages.some((message) => message.type === 'yjs-doc-update' && message.update === update)
    await there.until(isHere, 'the update is there', 15_000)
  } finally {
    clearInterval(typing)
  }
}, 60_000)
