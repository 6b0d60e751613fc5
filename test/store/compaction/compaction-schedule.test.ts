import { expect, test } from 'vitest'
import { createBackup } from '../../../src/store/backup/create-backup.ts'
import { CompactionSchedule } from '../../../src/store/compaction/compaction-schedule.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { simulatedRuntime } from '../../support/simulated-runtime.ts'
import { todoSchema } from '../../support/todo-schema.ts'
import { recordingLogger } from '../../support/tokens.ts'

const HOUR_MS = 60 * 60 * 1000

async function openSchedule() {
  const runtime = simulatedRuntime()
  const logger = recordingLogger()
  const store = new MemoryServerStore({ runtime })
  await store.setSchema(todoSchema)
  const schedule = new CompactionSchedule({
    store,
    runtime,
    logger,
    keepForMs: 2 * HOUR_MS,
    tombstonesMs: null,
    everyMs: 3 * HOUR_MS,
  })
  const author = new OperationAuthor('a', runtime.now())
  const edits = ['x', 'y', 'z'].map((title) => author.update(recordIdOf('r'), { title }))
  await appendAll(store, [new OperationAuthor('b', 0).insert(recordIdOf('r'), { title: 'new' }), ...edits])
  return { store, runtime, logger, schedule }
}

test('a server compacts in its interval what is old enough by then', async () => {
  const { store, runtime, schedule } = await openSchedule()

  schedule.start()
  await runtime.advance(HOUR_MS)
  await schedule.settled()
  const young = await store.countDropped()
  await runtime.advance(3 * HOUR_MS)
  await schedule.settled()
  await schedule.stop()

  expect(young).toBe(0)
  expect(await store.countDropped()).toBe(2)
  expect(schedule.stats).toMatchObject({ operationsDropped: 2, lastSuccessAt: expect.any(Number) })
})

test('a compaction that fails is logged and tried again', async () => {
  const { store, runtime, logger, schedule } = await openSchedule()
  await store.close()

  schedule.start()
  await runtime.advance(5 * 60_000)
  await schedule.stop()

  const failures = logger.lines.filter(({ message }) => message === 'compaction failed')
  expect(failures.length).toBeGreaterThan(2)
  expect(schedule.stats.lastSuccessAt).toBeNull()
})

test('a compaction waits for the backups that are read, says so once, and goes on where it was', async () => {
  const { store, runtime, logger, schedule } = await openSchedule()
  const backups = [createBackup(store), createBackup(store)] as const
  for (const backup of backups) await backup.next()

  schedule.start()
  await runtime.advance(3 * HOUR_MS)
  for await (const _ of backups[0]);
  await runtime.advance(60_000)
  const droppedMeanwhile = await store.countDropped()
  await backups[1].return()
  await runtime.advance(60_000)
  await schedule.settled()
  await schedule.stop()

  expect(droppedMeanwhile).toBe(0)
  expect(schedule.stats.lastSuccessAt).not.toBeNull()
  expect(logger.lines.map(({ message }) => message)).toEqual([
    'compaction waits for a backup that is being made',
    'log compacted',
  ])
})
