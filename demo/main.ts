import { setTimeout as sleep } from 'node:timers/promises'
import colours from 'picocolors'
import schema from '../config/schema.ts'
import { type Device, openDevice } from '../test/support/device.ts'

/**
 * A phone and a laptop on the running server: they sync, lose each other, write over each other,
 * and agree again. Start the server first (`npm start`), then `npm run demo [url]`, or set KORA_URL.
 */
const url = process.argv[2] ?? process.env.KORA_URL ?? 'ws://localhost:4567/'
const REFUSED =
  `The server at ${url} does not let the demo in, whose devices have no tokens. ` +
  'Start one that asks for none, without KORA_AUTH_SECRET.'
const ABSENT =
  `No sync server answers at ${url}. Start one in another terminal: npm start. ` +
  'One that listens elsewhere is named with its URL: npm run demo ws://localhost:8080'
const PAUSE_MS = process.stdout.isTTY ? 1_200 : 0 // time to read

const { phone, laptop } = await connectBoth()
try {
  await play(phone, laptop)
} finally {
  await Promise.all([phone.close(), laptop.close()])
}

async function play(phone: Device, laptop: Device): Promise<void> {
  await step('The phone writes a project and two todos. The laptop has them a moment later.')
  const projectId = phone.insert('projects', { name: 'Summer' })
  const tickets = phone.insert('todos', { title: 'book the train', projectId, tags: ['travel'] })
  const tent = phone.insert('todos', { title: 'find the tent', projectId })
  await laptop.until(() => laptop.record('todos', tent) !== null, 'the todos are here')
  show([tickets, tent])

  await step('Both go offline, and both change the same todos.')
  phone.goOffline()
  laptop.goOffline()
  phone.update('todos', tickets, { title: 'book the night train', tags: ['travel', 'urgent'] })
  phone.update('todos', tickets, {}, { votes: { type: 'increment', value: 2 } })
  laptop.update('todos', tickets, { done: true, tags: ['travel', 'with Ana'] })
  laptop.update('todos', tickets, {}, { votes: { type: 'increment', value: 3 } })
  phone.update('todos', tent, { title: 'buy a tent' })
  await sleep(5) // so that the laptop's clock reads later: the later change of a field wins
  laptop.update('todos', tent, { title: 'borrow a tent' })
  say(
    `Waiting to be sent: ${phone.pendingCount} operations on the phone, ${laptop.pendingCount} on the laptop.`,
  )
  show([tickets, tent])

  await step('Both come back. Nobody has to resolve anything:')
  phone.goOnline()
  laptop.goOnline()
  await Promise.all([phone.synced(), laptop.synced()])
  await Promise.all(
    [phone, laptop].map((device) =>
      device.until(isMerged(device, tickets, tent), 'the changes of both are here'),
    ),
  )
  show([tickets, tent])
  say('The title of one side and the check mark of the other are both kept, tags are united, votes are')
  say('added up; of the two new names of the tent the later one is kept. The server knows the same:')

  const configuration = '--config config/kora.config.ts'
  console.log(
    `\n  ${colours.cyan(`npx kora-server query todos --where projectId=${projectId} ${configuration}`)}`,
  )
}

function isMerged(device: Device, tickets: string, tent: string): () => boolean {
  return () =>
    device.record('todos', tickets)?.votes === 5 &&
    device.record('todos', tickets)?.done === true &&
    device.record('todos', tent)?.title === 'borrow a tent'
}

async function connectBoth(): Promise<{ phone: Device; laptop: Device }> {
  const options = { url, schema, isOnline: false }
  const phone = await openDevice({ ...options, name: 'phone' })
  const laptop = await openDevice({ ...options, name: 'laptop' })
  phone.goOnline()
  laptop.goOnline()
  try {
    await Promise.all([phone.streaming(5_000), laptop.streaming(5_000)])
    console.log(`\n${colours.bold('Two devices are connected')} to ${url}`)
    return { phone, laptop }
  } catch (error) {
    console.error((await answers()) ? REFUSED : ABSENT)
    if (process.env.KORA_LOG_LEVEL === 'debug') console.error(error)
    process.exit(1)
  }
}

/** Whether a server is there, even if it lets nobody in. */
async function answers(): Promise<boolean> {
  try {
    const health = new URL('/health', url.replace(/^ws/, 'http'))
    return (await fetch(health, { signal: AbortSignal.timeout(5_000) })).ok
  } catch {
    return false
  }
}

async function step(text: string): Promise<void> {
  await sleep(PAUSE_MS)
  console.log(`\n${colours.green('▸')} ${colours.bold(text)}`)
}

function say(text: string): void {
  console.log(`  ${text}`)
}

function show(ids: readonly string[]): void {
  console.log(
    colours.dim(
      `\n    ${'device'.padEnd(8)}${'title'.padEnd(24)}${'done'.padEnd(7)}${'votes'.padEnd(7)}tags`,
    ),
  )
  for (const id of ids) {
    for (const device of [phone, laptop]) {
      const todo = device.record('todos', id)
      if (todo === null) continue
      const { title, done, votes, tags } = todo
      const cells = [String(title).padEnd(24), (done ? 'yes' : 'no').padEnd(7), String(votes).padEnd(7)]
      console.log(`    ${device.journal.name.padEnd(8)}${cells.join('')}${(tags as string[]).join(', ')}`)
    }
  }
}
