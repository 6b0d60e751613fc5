import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deepEqual } from '../../../src/core/deep-equal.ts'
import type { FieldValues, JsonValue } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createView } from '../../../src/core/view.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { DeviceDatabase } from '../../support/device/database.ts'
import { SERVER_NODE } from '../../support/each-store.ts'
import { requestOf } from '../../support/operation-author.ts'

const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        likes: t.number().merge('counter').default(0),
        count: t.number().default(0),
        tags: t.array(t.string()).default([]),
        meta: t.json().optional(),
      },
    },
  },
})
const EVERYTHING = createView(null)
const RECORDS = ['r1', 'r2']
// A device's own time is later than what it receives: the next reading of its clock then does not depend
// on how much it has received, and both worlds write the same operations.
const STEP_MS = 1000
const MAX_SKEW_MS = 400

const values = fc.record(
  {
    title: fc.constantFrom<JsonValue>('a', 'b', 'c'),
    done: fc.boolean(),
    likes: fc.integer({ min: 0, max: 3 }),
    count: fc.integer({ min: 0, max: 3 }),
  },
  { requiredKeys: [] },
)
const content = fc.record(
  {
    tags: fc.array(fc.constantFrom('x', 'y', 'z'), { maxLength: 2 }),
    meta: fc.constantFrom<JsonValue>({ a: 1 }, { a: 2, b: 1 }, 'text'),
  },
  { requiredKeys: [] },
)

const device = fc.nat({ max: 3 })
const action = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      kind: fc.constant('update' as const),
      device,
      recordId: fc.constantFrom(...RECORDS),
      data: fc.oneof(
        { weight: 8, arbitrary: values },
        { weight: 1, arbitrary: content },
        { weight: 1, arbitrary: fc.tuple(values, content).map(([a, b]) => ({ ...a, ...b })) },
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('increment' as const),
      device,
      recordId: fc.constantFrom(...RECORDS),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('delete' as const),
      device,
      recordId: fc.constantFrom(...RECORDS),
    }),
  },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('push' as const), device }) },
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('pull' as const),
      device,
      positions: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('compact' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('resend' as const), device }) },
)

type Action = typeof action extends fc.Arbitrary<infer Value> ? Value : never

interface Host {
  readonly database: DeviceDatabase
  watermark: number
  pushed: number
}

/** Devices and a server, with or without compaction; what they do is the same. */
class World {
  readonly store = new MemoryServerStore({ nodeId: SERVER_NODE })
  readonly hosts: Host[]
  dropped = 0
  readonly #compacts: boolean
  #now = 1_000_000

  private constructor(compacts: boolean, skews: readonly number[]) {
    this.#compacts = compacts
    this.hosts = skews.map((skew, index) => this.#host(`device-${index}`, skew))
  }

  static async open(compacts: boolean, skews: readonly number[]): Promise<World> {
    const world = new World(compacts, skews)
    await world.store.setSchema(schema)
    for (const recordId of RECORDS) {
      world.#host0.database.write({ type: 'insert', collection: 'todos', recordId, data: { title: 'new' } })
    }
    await world.push(world.#host0)
    for (const host of world.hosts) await world.pull(host, 100)
    return world
  }

  get #host0(): Host {
    const [first] = this.hosts
    if (first === undefined) throw new Error('A world has devices')
    return first
  }

  #host(nodeId: string, skew: number): Host {
    const now = () => this.#now + skew
    return {
      database: new DeviceDatabase({ nodeId, now, schema, schemaVersion: 1 }),
      watermark: 0,
      pushed: 0,
    }
  }

  async perform(step: Action): Promise<void> {
    this.#now += STEP_MS
    if (step.kind === 'compact') {
      if (this.#compacts) await this.compact()
      return
    }
    const host = this.hosts[step.device] ?? this.#host0
    if (step.kind === 'push') await this.push(host)
    else if (step.kind === 'pull') await this.pull(host, step.positions)
    else if (step.kind === 'resend') await this.push({ ...host, pushed: 0 })
    else this.#write(host, step)
  }

  /** What the user of an action looks at; null: nothing, so there is nothing to change. */
  sightOf(step: Action): FieldValues | null {
    if (!('recordId' in step)) return {}
    const row = this.hosts[step.device]?.database.row('todos', step.recordId)
    return row == null || row.isDeleted ? null : row.values
  }

  #write({ database }: Host, step: Extract<Action, { recordId: string }>): void {
    const collection = 'todos'
    const { recordId } = step
    if (step.kind === 'delete') database.write({ type: 'delete', collection, recordId, data: null })
    else if (step.kind === 'increment') {
      const atomicOps = { count: { type: 'increment', value: 1 } } as const
      database.write({ type: 'update', collection, recordId, data: {}, atomicOps })
    } else if (Object.keys(step.data).length > 0) {
      database.write({ type: 'update', collection, recordId, data: step.data as FieldValues })
    }
  }

  async push(host: Host): Promise<void> {
    const own = host.database.operations.filter(({ nodeId }) => nodeId === host.database.nodeId)
    const results = await this.store.append(own.slice(host.pushed).map((operation) => requestOf(operation)))
    for (const result of results) expect(result.status).not.toBe('refused')
    host.pushed = own.length
  }

  /** Goes on by so many positions, which are the same in both worlds, however many operations stand there. */
  async pull(host: Host, positions: number): Promise<void> {
    const target = Math.min(host.watermark + positions, await this.store.getMaxDeliverySequence())
    const query = { after: host.watermark, view: EVERYTHING, limit: 1000, maxBytes: 1e9 }
    const { entries } = await this.store.readDelivery(query)
    for (const { wireJson, deliverySequence } of entries) {
      if (deliverySequence <= target) host.database.receive(JSON.parse(wireJson))
    }
    host.watermark = target
  }

  async compact(): Promise<void> {
    const rules = { supersededBefore: Number.POSITIVE_INFINITY, deletedBefore: null }
    const { dropped } = await this.store.compactStep(0, rules)
    this.dropped += dropped.reduce((sum, { operations }) => sum + operations, 0)
  }

  /** Everybody has everything. */
  async settle(): Promise<void> {
    if (this.#compacts) await this.compact()
    for (const host of this.hosts) await this.push(host)
    for (const host of this.hosts) await this.pull(host, 1000)
  }

  /** A device that comes now, and one without watermark that stands where `host` stood. */
  async newcomers(): Promise<DeviceDatabase[]> {
    const fresh = this.#host('fresh', 0)
    await this.pull(fresh, 1000)
    const legacy = this.#host('legacy', 0)
    const query = { after: 0, view: EVERYTHING, limit: 1000, maxBytes: 1e9 }
    const { entries } = await this.store.readMissing(new Map(), query)
    for (const { wireJson } of entries) legacy.database.receive(JSON.parse(wireJson))
    return [fresh.database, legacy.database]
  }
}

function shown(database: DeviceDatabase) {
  return RECORDS.map((recordId) => {
    const row = database.row('todos', recordId)
    return row === null ? null : { values: row.values, versions: row.fieldVersions, isDeleted: row.isDeleted }
  })
}

const skews = fc.tuple(...[0, 1, 2, 3].map(() => fc.integer({ min: -MAX_SKEW_MS, max: MAX_SKEW_MS })))
const script = fc.array(action, { minLength: 10, maxLength: 60 })

test('every device ends up with the same rows and versions as without compaction, wherever it stood', async () => {
  let dropped = 0
  await fc.assert(
    fc.asyncProperty(skews, script, script, async (clocks, first, second) => {
      const plain = await World.open(false, clocks)
      const compacting = await World.open(true, clocks)
      for (const step of [...first, { kind: 'compact' as const }, ...second]) {
        // On its way through the log a device may show a record as it was a little earlier than it would
        // without compaction. Users act alike in both worlds when they see the same.
        const sight = plain.sightOf(step)
        if (sight === null || !deepEqual(sight, compacting.sightOf(step))) continue
        await plain.perform(step)
        await compacting.perform(step)
      }
      await plain.settle()
      await compacting.settle()

      expect(compacting.hosts.map(({ database }) => shown(database))).toEqual(
        plain.hosts.map(({ database }) => shown(database)),
      )
      expect((await compacting.newcomers()).map(shown)).toEqual((await plain.newcomers()).map(shown))
      expect(await compacting.store.queryCollection('todos', { includeDeleted: true })).toEqual(
        await plain.store.queryCollection('todos', { includeDeleted: true }),
      )
      await compacting.store.rebuildCollections()
      expect(await compacting.store.queryCollection('todos', { includeDeleted: true })).toEqual(
        await plain.store.queryCollection('todos', { includeDeleted: true }),
      )
      expect([...(await compacting.store.getVersionVector())]).toEqual([
        ...(await plain.store.getVersionVector()),
      ])
      dropped += compacting.dropped
    }),
    { numRuns: 60 },
  )
  expect(dropped).toBeGreaterThan(60)
}, 120_000)

test('a device that has deleted the record, and told nobody yet, takes the same operation for its return', async () => {
  const update = (device: number, data: FieldValues): Action =>
    ({ kind: 'update', device, recordId: 'r1', data }) as Action
  const rows = []
  for (const compacts of [false, true]) {
    const world = await World.open(compacts, [0, 0, 0, 0])
    const steps: Action[] = [
      update(3, { tags: ['x'] }),
      { kind: 'delete', device: 3, recordId: 'r1' },
      update(0, { count: 1 }),
      update(0, { tags: [] }),
      update(0, { count: 2 }),
      { kind: 'push', device: 0 },
      { kind: 'compact' },
    ]
    for (const step of steps) await world.perform(step)
    await world.settle()
    rows.push(world.hosts.map(({ database }) => shown(database)))
  }

  expect(rows[1]).toEqual(rows[0])
})
