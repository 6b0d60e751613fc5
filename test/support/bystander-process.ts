import { setTimeout as sleep } from 'node:timers/promises'
import type { BystanderOptions, Observation } from './bystander.ts'
import { openDevice } from './device.ts'
import { todoSchema } from './todo-app.ts'

/**
 * What `Bystander` starts: a device that writes while it is told to. By `process.send`: the present
 * round's observation whenever it is asked for, which begins the next one.
 */
const options = JSON.parse(process.argv[2] ?? '') as Required<BystanderOptions>
const device = await openDevice({ ...options, schema: todoSchema })
let isAsked = false

process.on('message', () => (isAsked = true))
process.on('disconnect', () => process.exit(0))
process.send?.('ready')

for (;;) {
  const waitsMs: number[] = []
  isAsked = false
  while (!isAsked) {
    const sentAt = performance.now()
    device.insert('todos', { title: 'bystander', userId: 'ada' })
    await device.synced(options.maxWaitMs)
    waitsMs.push(performance.now() - sentAt)
    await sleep(options.pauseMs)
  }
  const observation: Observation = { waitsMs, closes: device.journal.of('closed').length }
  process.send?.(observation)
}
