import { describe, expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import type { ScopeMap } from '../../../src/core/scope.ts'
import type { Loaded, LoadRequest } from '../../../src/store/append/load.ts'
import { type AppendContext, planAppend } from '../../../src/store/append/plan-append.ts'
import { ServerClock } from '../../../src/store/append/server-clock.ts'
import { MemoryBlobs } from '../../../src/store/memory/memory-blobs.ts'
import { MemoryLog } from '../../../src/store/memory/memory-log.ts'
import { SERVER_NODE } from '../../support/each-store.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { teamSchema } from '../../support/team-schema.ts'

const teams = parseSchema(teamSchema)

function contextOf(schema: SchemaDefinition): AppendContext {
  return {
    serverNodeId: SERVER_NODE,
    isServerNode: (nodeId) => nodeId === SERVER_NODE,
    clock: new ServerClock(SERVER_NODE, { now: () => 1_760_000_000_000 }),
    schema,
    collection: (name) => schema.collections[name] ?? null,
    trackedFields: () => [],
  }
}

function openLog(schema = teams): MemoryLog {
  const log = new MemoryLog(SERVER_NODE, new MemoryBlobs())
  log.indexLive(schema)
  return log
}

/** Appends a batch and tells what the store was asked, once for each round trip. */
function append(
  log: MemoryLog,
  operations: readonly Operation[],
  { writeScope = null, schema = teams }: { writeScope?: ScopeMap | null; schema?: SchemaDefinition } = {},
): LoadRequest[] {
  const asked: LoadRequest[] = []
  const steps = planAppend(
    operations.map((operation) => requestOf(operation, { writeScope })),
    contextOf(schema),
  )
  let step = steps.next()
  while (!step.done) {
    asked.push(step.value)
    const loaded: Loaded = log.load(step.value)
    step = steps.next(loaded)
  }
  log.commit(step.value)
  return asked
}

const ids = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

describe('a batch of any size asks the store', () => {
  test('once when no rule of the schema is touched', () => {
    const log = openLog()
    const author = new OperationAuthor('a')
    const insert = (id: string) => author.insert(id, { badge: 0, isActive: false }, { collection: 'members' })
    const update = (id: string) => author.update(id, { floor: 1 }, { collection: 'members' })

    expect(append(log, ids('m', 100).map(insert)).length).toBe(1)
    expect(append(log, ids('m', 100).map(update)).length).toBe(1)
    expect(
      append(
        log,
        ids('x', 100).map((id) => author.insert(id, {}, { collection: 'unknown' })),
      ).length,
    ).toBe(1)
  })

  test('once when relations lead to records that the scopes open in part', () => {
    const log = openLog()
    const author = new OperationAuthor('a')
    const scope = { tasks: {}, teams: { name: 'mine' } }
    const teams = ids('t', 50)
    const into = (collection: string) => ({ collection })
    append(
      log,
      teams.map((id) => author.insert(id, { name: 'mine' }, into('teams'))),
    )
    const insert = (id: string) => author.insert(`k-${id}`, { title: 'x', teamId: id }, into('tasks'))
    const update = (id: string) => author.update(`k-${id}`, { teamId: 't0' }, into('tasks'))

    const [first, ...more] = append(log, [...teams, ...teams].map(insert), { writeScope: scope })

    expect(more).toEqual([])
    expect(first?.references?.length).toBe(50)
    expect(append(log, teams.map(update), { writeScope: scope }).length).toBe(1)
  })

  test('twice when constraints have to be checked', () => {
    const log = openLog()
    const author = new OperationAuthor('a')
    const insert = (id: string) =>
      author.insert(
        id,
        { email: id, isActive: false, teamId: `team of ${id}`, desk: 'd', floor: 1 },
        { collection: 'members' },
      )

    const [, second, ...more] = append(log, ids('m', 100).map(insert))

    expect(more).toEqual([])
    expect(second?.lookups?.length).toBe(101) // an address each, one desk
    expect(second?.records.length).toBe(100)
  })

  test('once more for each level of what deletions entail', () => {
    const log = openLog()
    const author = new OperationAuthor('a')
    const teams = ids('t', 50)
    append(
      log,
      teams.map((id) => author.insert(id, { name: id }, { collection: 'teams' })),
    )
    append(
      log,
      teams.flatMap((id) => [
        author.insert(`k-${id}`, { title: 'x', teamId: id }, { collection: 'tasks' }),
        author.insert(`n-${id}`, { text: 'x', taskId: `k-${id}` }, { collection: 'notes' }),
      ]),
    )

    const asked = append(
      log,
      teams.map((id) => author.delete(id, { collection: 'teams' })),
    )

    expect(asked.length).toBe(4) // the teams; who refers to them; to their tasks; to the notes of those
    expect(log.recordsOf('notes').filter(({ state }) => !state.isDeleted)).toEqual([])
  })

  test('once more for the constraints on all references that deletions clear', () => {
    const schema = parseSchema(
      defineSchema({
        version: 1,
        collections: {
          teams: { fields: { name: t.string() } },
          members: {
            fields: { name: t.string(), teamId: t.string().optional() },
            constraints: [
              { type: 'unique', fields: ['name'], where: { teamId: null }, onConflict: 'first-write-wins' },
            ],
          },
        },
        relations: {
          team: { from: 'members', to: 'teams', type: 'many-to-one', field: 'teamId', onDelete: 'set-null' },
        },
      }),
    )
    const log = openLog(schema)
    const author = new OperationAuthor('a')
    const teamIds = ids('t', 10)
    append(
      log,
      teamIds.flatMap((teamId) => [
        author.insert(teamId, { name: teamId }, { collection: 'teams' }),
        ...ids(`m-${teamId}-`, 10).map((id) =>
          author.insert(id, { name: id, teamId }, { collection: 'members' }),
        ),
      ]),
      { schema },
    )

    const asked = append(
      log,
      teamIds.map((id) => author.delete(id, { collection: 'teams' })),
      { schema },
    )

    expect(asked.length).toBe(3) // the teams; who refers to them; who else has the names
    expect(asked[2]?.lookups?.length).toBe(100)
    expect(log.recordsOf('members').map(({ state }) => state.values.teamId)).toEqual(Array(100).fill(null))
  })

  test('for the history of a record once, however many changes others have overtaken', () => {
    const log = openLog()
    const author = new OperationAuthor('a')
    const tasks = { collection: 'tasks' }
    const change = (seen: string, status: string) =>
      author.update('k', { status }, { ...tasks, previousData: { status: seen } })
    append(log, [author.insert('k', { title: 'x', status: 'doing' }, tasks), change('doing', 'done')])

    const overtaken = ids('', 50).flatMap(() => [change('doing', 'open'), change('open', 'doing')])
    const [first, ...more] = append(log, [...overtaken, change('doing', 'done'), change('doing', 'open')])

    expect(first?.histories).toEqual([])
    expect(more.map(({ histories }) => histories.length)).toEqual([1])
    expect(append(log, [change('never', 'open')]).length).toBe(1)
  })

  test('for few records where many were deleted before', () => {
    const log = openLog()
    const author = new OperationAuthor('a')
    const members = { collection: 'members' }
    for (const id of ids('m', 50)) {
      append(log, [author.insert(id, { email: 'shared', isActive: false }, members)])
      append(log, [author.delete(id, members)])
    }
    const found: number[] = []
    const insert = author.insert('last', { email: 'shared', isActive: false }, members)
    for (const request of append(log, [insert]))
      found.push(...log.load(request).lookups.map(({ length }) => length))

    expect(found).toEqual([1]) // the one that was just inserted
  })
})
