import { afterEach, expect, test } from 'vitest'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { createBackup } from '../../src/store/backup/create-backup.ts'
import { rulesFor, runCompaction } from '../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore, temporaryDirectory } from '../support/each-store.ts'
import {
  CONFIG,
  findConfigProblem,
  findRestoreProblem,
  findSchemaProblem,
  mutatedBackup,
  withChangedSchema,
} from '../support/fuzz/files.ts'
import { fuzzSchema } from '../support/fuzz/frame-targets.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { withoutFunctions } from '../support/resolver-schema.ts'
import { seedOf } from '../support/socket-client.ts'
import { todoSchema } from '../support/todo-schema.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CONFIGS = sized(3000, 200_000)
const SCHEMAS = sized(300, 10_000)
const BACKUP_SCHEMAS = sized(100, 3000) // on each of three stores
const BACKUPS = sized(150, 10_000) // on each of three stores

const unhandled: unknown[] = []
const note = (error: unknown): void => void unhandled.push(error)
process.on('uncaughtException', note)
process.on('unhandledRejection', note)
afterEach(() => expect(unhandled).toEqual([]))

test(
  'whatever a configuration holds, the parser says what is wrong with it, and shows no secret',
  () => {
    const seed = seedOf('configurations')
    const mutator = new Mutator(seed)
    for (let count = 0; count < CONFIGS; count++) {
      const config = mutator.json(CONFIG)
      if (typeof config !== 'object' || config === null || Array.isArray(config)) continue
      const problem = findConfigProblem(config)
      if (problem !== null) expect.fail(`${problem}\n${JSON.stringify(config)}`)
    }
    reportFigures('configurations', { configurations: CONFIGS, crashes: 0, 'secrets shown': 0, seed })
  },
  timeoutMs(60_000),
)

test(
  'whatever a schema holds, it is refused by rule or has exactly its tables and columns',
  async () => {
    const seed = seedOf('schemas')
    const mutator = new Mutator(seed)
    using directory = temporaryDirectory()
    const source: unknown = JSON.parse(JSON.stringify(fuzzSchema))
    for (let count = 0; count < SCHEMAS; count++) {
      const schema = mutator.json(source)
      const problem = await findSchemaProblem(schema, `${directory.path}/${count}.db`)
      if (problem !== null) expect.fail(`${problem}\n${JSON.stringify(schema)}`)
    }
    reportFigures('schemas', { schemas: SCHEMAS, crashes: 0, seed })
  },
  timeoutMs(60_000),
)

async function backupOf(store: ServerStore): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of createBackup(store)) pieces.push(piece)
  return Buffer.concat(pieces)
}

describeEachStore('backups', (openStore) => {
  test(
    'that were changed anyhow are refused before the first write, or restored',
    async () => {
      const seed = seedOf('backups')
      const mutator = new Mutator(seed)
      await using source = await openStore({ schema: todoSchema, nodeId: 'source' })
      await using target = await openStore({ schema: todoSchema, nodeId: 'target' })
      const author = new OperationAuthor('a')
      const inserts = Array.from({ length: 20 }, (_, i) =>
        author.insert(recordIdOf(`${i}`), { title: `${i}`, userId: 'u' }),
      )
      const edits = inserts.slice(5).map(({ recordId }) => author.update(recordId, { title: 'edited' }))
      await appendAll(source, [...inserts, author.delete(recordIdOf('1')), ...edits])
      await appendAll(
        source,
        edits.map(({ recordId }) => author.update(recordId, { title: 'last' })),
      )
      await source.registerNode({ nodeId: 'a', userId: 'ada' })
      await source.revoke({ kind: 'user', value: 'eve' }, 1000)
      await appendAll(target, [new OperationAuthor('kept').insert(recordIdOf('kept'), {})])
      const whole = await backupOf(source)
      const rules = rulesFor({ keepForMs: 0, tombstonesMs: 0 }, Date.now())
      await runCompaction(source, rules, { runtime: systemRuntime(), isPlan: false })
      expect(await source.countDropped()).toBeGreaterThan(10)
      const backups = [whole, await backupOf(source)]

      let refused = 0
      for (let count = 0; count < BACKUPS; count++) {
        const bytes = mutatedBackup(mutator.pick(backups), mutator)
        const { problem, isRefused } = await findRestoreProblem(target, bytes)
        if (problem !== null) expect.fail(`${problem}\n${bytes.toString('base64')}`)
        if (isRefused) refused++
      }
      expect(refused).toBeGreaterThan(BACKUPS / 2)
      reportFigures('backups', { backups: BACKUPS, refused, restored: BACKUPS - refused, crashes: 0, seed })
    },
    timeoutMs(60_000),
  )

  test(
    'whose schema was changed anyhow are refused before the first write, or a store without one takes it over',
    async () => {
      const seed = seedOf('schemas of backups')
      const mutator = new Mutator(seed)
      await using source = await openStore({ schema: todoSchema, nodeId: 'source' })
      await source.setSchema(withoutFunctions({ ...fuzzSchema, version: todoSchema.version + 1 }))
      const whole = await backupOf(source)

      let refused = 0
      for (let count = 0; count < BACKUP_SCHEMAS; ) {
        await using target = await openStore({ nodeId: 'target' })
        for (let isRefused = true; isRefused && count < BACKUP_SCHEMAS; count++) {
          const bytes = withChangedSchema(whole, mutator)
          const result = await findRestoreProblem(target, bytes)
          if (result.problem !== null) expect.fail(`${result.problem}\n${bytes.toString('base64')}`)
          isRefused = result.isRefused
          if (isRefused) refused++
        }
      }
      const restored = BACKUP_SCHEMAS - refused
      reportFigures('schemas of backups', { backups: BACKUP_SCHEMAS, refused, restored, crashes: 0, seed })
    },
    timeoutMs(60_000),
  )
})
