import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FieldValues, JsonValue, Operation } from '../../../src/core/operation.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import type { ScopeMap } from '../../../src/core/scope.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { AppendResult, MaterializedRecord, ServerStore } from '../../../src/store/store.ts'
import { SERVER_NODE, temporaryDirectory } from '../../support/each-store.ts'
import { requestOf, withId } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { simulatedRuntime } from '../../support/simulated-runtime.ts'
import { teamSchema } from '../../support/team-schema.ts'

const schema = teamSchema
const COLLECTIONS = Object.keys(schema.collections)
const IDS = ['1', '2', '3']
const NOW = simulatedRuntime().now()

const reference = fc.constantFrom<JsonValue>(...IDS, ...IDS, null)
const valuesOf: { readonly [collection: string]: fc.Arbitrary<FieldValues> } = {
  teams: partial({ name: fc.constantFrom('a', 'b'), parentId: reference }),
  members: partial({
    email: fc.constantFrom<JsonValue>('x', 'y', null),
    badge: fc.constantFrom(0, 1, 2),
    isActive: fc.boolean(),
    teamId: reference,
    desk: fc.constantFrom<JsonValue>('d', null),
    floor: fc.constantFrom(1, 2),
  }),
  tasks: partial({
    title: fc.constantFrom('t', 'u'),
    teamId: reference,
    assigneeId: reference,
    status: fc.constantFrom('open', 'doing', 'done'),
    review: fc.constantFrom<JsonValue>('none', 'asked', 'passed', null),
    userId: fc.constantFrom<JsonValue>('u1', 'u2', null),
  }),
  notes: partial({ text: fc.constant('n'), taskId: reference }),
  audits: partial({ noteId: reference, memberId: reference }),
}

function partial(fields: { [field: string]: fc.Arbitrary<JsonValue> }): fc.Arbitrary<FieldValues> {
  return fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<FieldValues> // absent keys are not undefined
}

/** Few records, so that they meet; clocks around the server's, so that operations are late and early. */
const step = fc.constantFrom(...COLLECTIONS).chain((collection) =>
  fc.record({
    collection: fc.constant(collection),
    type: fc.constantFrom<Operation['type']>('insert', 'insert', 'update', 'update', 'delete'),
    recordId: fc.constantFrom(...IDS),
    data: valuesOf[collection] ?? fc.constant({}),
    aheadMs: fc.integer({ min: -20, max: 20 }),
    isByServer: fc.constantFrom(false, false, false, false, true),
    isEncrypted: fc.constantFrom(false, false, false, false, false, true),
    scope: fc.constantFrom<ScopeMap | null>(null, null, null, {
      tasks: { userId: 'u1' },
      members: {},
      teams: { name: 'a' },
    }),
  }),
)

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never
type Request = Parameters<ServerStore['append']>[0][number]

const history = fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 10 })

function requestsOf(batches: readonly (readonly Step[])[]): Request[][] {
  let sequenceNumber = 0
  return batches.map((batch) =>
    batch.map(({ collection, type, recordId, data, aheadMs, isByServer, isEncrypted, scope }): Request => {
      sequenceNumber++
      const content = type === 'delete' ? null : isEncrypted && !isByServer ? ENCRYPTED : data
      if (isByServer)
        return {
          author: 'server',
          access: SERVER_ITSELF,
          type,
          collection,
          recordId,
          data: content,
          schemaVersion: 1,
        }
      const timestamp = { wallTime: NOW + aheadMs, logical: sequenceNumber, nodeId: 'client' }
      const operation = withId({
        id: '',
        nodeId: 'client',
        type,
        collection,
        recordId,
        data: content,
        previousData: type === 'update' ? {} : null,
        timestamp,
        sequenceNumber,
        causalDeps: [],
        schemaVersion: 1,
      })
      return requestOf(operation, { writeScope: scope })
    }),
  )
}

const ENCRYPTED = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

async function openMemory(): Promise<MemoryServerStore> {
  const store = new MemoryServerStore({ nodeId: SERVER_NODE, runtime: simulatedRuntime() })
  await store.setSchema(schema)
  return store
}

const logOf = async (store: ServerStore) => (await store.readLog(0, 10_000, 1e9)).entries

/** Live records of a collection. Tables show defaults where an encrypted insert may have set another value: without those. */
async function readableRecords(store: ServerStore, collection: string): Promise<MaterializedRecord[]> {
  const log = (await store.getOperationsAfterDelivery(0, 10_000)).map(({ operation }) => operation)
  const isReadable = ({ id }: MaterializedRecord) => {
    const own = log.filter((operation) => operation.collection === collection && operation.recordId === id)
    return replayRecord(own, schema.collections[collection] ?? null)?.isSealed === false
  }
  return (await store.queryCollection(collection)).filter(isReadable)
}

async function findViolations(store: ServerStore): Promise<string[]> {
  const members = await readableRecords(store, 'members')
  const teams = await readableRecords(store, 'teams')
  const teamIds = new Set((await store.queryCollection('teams')).map(({ id }) => id))
  return [
    ...overfull(
      'email',
      members.filter(({ email }) => email !== null),
      (member) => [member.email],
      1,
    ),
    ...overfull(
      'badge',
      members.filter(({ isActive }) => isActive),
      (member) => [member.badge],
      1,
    ),
    ...overfull(
      'desk',
      members.filter(({ desk, floor }) => desk !== null && floor !== null),
      (member) => [member.desk, member.floor],
      2,
    ),
    ...overfull(
      'name',
      teams.filter(({ name, parentId }) => name !== null && parentId === null),
      (team) => [team.name],
      1,
    ),
    ...members.flatMap(({ id, teamId }) =>
      teamId === null || teamIds.has(String(teamId))
        ? []
        : [`member ${id} is in team ${teamId}, which is gone`],
    ),
  ]
}

function overfull(
  name: string,
  records: readonly MaterializedRecord[],
  groupOf: (record: MaterializedRecord) => unknown[],
  max: number,
): string[] {
  const counts = new Map<string, number>()
  for (const record of records) {
    const group = JSON.stringify(groupOf(record))
    counts.set(group, (counts.get(group) ?? 0) + 1)
  }
  return [...counts].filter(([, count]) => count > max).map(([group, count]) => `${name} ${group}: ${count}`)
}

async function expectTablesToEqualReplay(store: ServerStore): Promise<void> {
  const log = (await store.getOperationsAfterDelivery(0, 10_000)).map(({ operation }) => operation)
  for (const collection of COLLECTIONS) {
    const shown = await store.readRecordValues(collection, IDS)
    for (const recordId of IDS) {
      const own = log.filter(
        (operation) => operation.collection === collection && operation.recordId === recordId,
      )
      const replayed = replayRecord(own, schema.collections[collection] ?? null)
      expect(shown.get(recordId)?.values ?? null).toEqual(replayed?.values ?? null)
      expect(shown.get(recordId)?.isDeleted ?? true).toBe(replayed?.isDeleted ?? true)
    }
  }
}

/** Live records that refer to the record by a relation that acts on deletion. */
async function referencesTo(store: ServerStore, collection: string, recordId: string): Promise<string[]> {
  const found: string[] = []
  for (const [name, { from, to, field, onDelete }] of Object.entries(schema.relations)) {
    if (to !== collection || onDelete === 'no-action') continue
    for (const { id } of await store.queryCollection(from, { where: { [field]: recordId } }))
      found.push(`${name}: ${id}`)
  }
  return found
}

const isDelete = (request: Request | undefined) =>
  request !== undefined && ('author' in request ? request.type : request.operation.type) === 'delete'

test('whatever is appended, no table violates its constraints, and stores agree byte for byte', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      using directory = temporaryDirectory()
      const filename = join(directory.path, 'store.db')
      const memory = await openMemory()
      const sqlite = createSqliteServerStore({
        filename,
        nodeId: SERVER_NODE,
        durability: 'normal',
        runtime: simulatedRuntime(),
      })
      await sqlite.setSchema(schema)

      for (const requests of requestsOf(batches)) {
        expect(await sqlite.append(requests)).toEqual(await memory.append(requests))
        expect(await findViolations(memory)).toEqual([])
      }

      expect(await findViolations(sqlite)).toEqual([])
      expect(await logOf(sqlite)).toEqual(await logOf(memory))
      await expectTablesToEqualReplay(memory)
      await expectTablesToEqualReplay(sqlite)
      await sqlite.close()
    }),
    { numRuns: 150 },
  )
}, 120_000)

test('PostgreSQL agrees with the others', async () => {
  await using database = await openTestDatabase()
  let runs = 0
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      const { now } = simulatedRuntime()
      const memory = await openMemory()
      const postgres = await createPostgresServerStore({
        connectionString: database.connectionString,
        nodeId: SERVER_NODE,
        schema: `run_${++runs}`,
        runtime: { ...systemRuntime(), now },
      })
      await postgres.setSchema(schema)

      for (const requests of requestsOf(batches)) {
        expect(await postgres.append(requests)).toEqual(await memory.append(requests))
      }

      expect(await findViolations(postgres)).toEqual([])
      expect(await logOf(postgres)).toEqual(await logOf(memory))
      await expectTablesToEqualReplay(postgres)
      await postgres.close()
    }),
    { numRuns: 10 },
  )
}, 300_000)

test('a batch comes to the same as its operations one by one', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      const [together, apart] = [await openMemory(), await openMemory()]
      for (const requests of requestsOf(batches)) {
        const results: AppendResult[] = []
        for (const request of requests) results.push(...(await apart.append([request])))
        expect(await together.append(requests)).toEqual(results)
      }
      expect(await logOf(together)).toEqual(await logOf(apart))
    }),
    { numRuns: 500 },
  )
}, 120_000)

test('after a deletion nothing refers to the record any more, and a refused one changed nothing', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      const store = await openMemory()
      for (const requests of requestsOf(batches)) {
        const last = requests.at(-1)
        await store.append(requests.slice(0, -1))
        if (last === undefined || !isDelete(last)) continue
        const { collection, recordId } = 'author' in last ? last : last.operation
        const wasLive = (await store.findRecord(collection, recordId)) !== null
        const before = await logOf(store)

        const [result] = await store.append([last])

        if (result?.status === 'refused') expect(await logOf(store)).toEqual(before)
        const isGone = (await store.findRecord(collection, recordId)) === null
        if (wasLive && isGone) expect(await referencesTo(store, collection, recordId)).toEqual([])
      }
    }),
    { numRuns: 500 },
  )
}, 120_000)

test('what a restored log comes to is what it was', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (batches) => {
      const [original, restored] = [await openMemory(), await openMemory()]
      for (const requests of requestsOf(batches)) await original.append(requests)

      await restored.importBackup(await original.exportBackup())

      for (const collection of COLLECTIONS) {
        expect(await restored.queryCollection(collection)).toEqual(await original.queryCollection(collection))
      }
      expect(await restored.getOperationCount()).toBe(await original.getOperationCount())
    }),
    { numRuns: 100 },
  )
}, 120_000)
