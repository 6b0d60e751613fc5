import { setTimeout as sleep } from 'node:timers/promises'
import type { BystanderOptions, BystanderTask, Observation } from './bystander.ts'

/**
 * What `Bystander` starts: a client that does its task until it is told to stop. By `process.send`: the present
 * round's observation whenever it is asked for, which begins the next one.
 */
const options = JSON.parse(process.argv[2] ?? '') as Required<BystanderOptions>

/** A task that has begun. */
interface Client {
  /** Resolves with the answer. */
  act(): Promise<unknown>
  /** Connections that have ended without its doing; null where it keeps none. */
  readonly closes: number | null
}

const CLIENTS: { readonly [task in BystanderTask]: () => Promise<Client> } = {
  write: startWriter,
  deliver: startPair,
  connect: startNewcomers,
  ask: startAsking,
}

async function startWriter(): Promise<Client> {
  const [{ openDevice }, { todoSchema }] = await Promise.all([import('./device.ts'), import('./todo-app.ts')])
  const device = await openDevice({ ...options, schema: todoSchema })
  return {
    act() {
      device.insert('todos', { title: 'bystander', userId: 'ada' })
      return device.synced(options.maxWaitMs)
    },
    get closes() {
      return device.journal.of('closed').length
    },
  }
}

async function startPair(): Promise<Client> {
  const [{ openDevice }, { todoSchema }] = await Promise.all([import('./device.ts'), import('./todo-app.ts')])
  const writer = await openDevice({ ...options, schema: todoSchema })
  const reader = await openDevice({ ...options, schema: todoSchema })
  const recordId = writer.insert('todos', { title: 'bystander', userId: 'ada' })
  let count = 0
  return {
    act() {
      const { id } = writer.update('todos', recordId, { count: ++count })
      return reader.received(id, options.maxWaitMs)
    },
    get closes() {
      return writer.journal.of('closed').length + reader.journal.of('closed').length
    },
  }
}

async function startNewcomers(): Promise<Client> {
  const { Device } = await import('./device.ts')
  let closes = 0
  return {
    async act() {
      await using device = new Device(options)
      device.goOnline()
      await device.streaming(options.maxWaitMs)
      closes += device.journal.of('closed').length
    },
    get closes() {
      return closes
    },
  }
}

async function startAsking(): Promise<Client> {
  const health = new URL('/health', options.url.replace(/^ws/, 'http'))
  return {
    async act() {
      const response = await fetch(health, { signal: AbortSignal.timeout(options.maxWaitMs) })
      await response.text()
    },
    closes: null,
  }
}

const client = await CLIENTS[options.task]()
await client.act() // what is done only once is nobody's delay
let isAsked = false

process.on('message', () => (isAsked = true))
process.on('disconnect', () => process.exit(0))
process.send?.('ready')

for (;;) {
  const waitsMs: number[] = []
  isAsked = false
  while (!isAsked) {
    const actedAt = performance.now()
    await client.act()
    waitsMs.push(performance.now() - actedAt)
    await sleep(options.pauseMs)
  }
  const observation: Observation = { waitsMs, closes: client.closes }
  process.send?.(observation)
}
