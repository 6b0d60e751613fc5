import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KoraServerError } from '../../src/core/errors.ts'
import type { Operation } from '../../src/core/operation.ts'
import { checkOperationId, computeOperationId } from '../../src/core/operation-id.ts'
import { replayRecord } from '../../src/core/record/fold.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { refuseSchemaViolation } from '../../src/core/schema/validate-operation.ts'
import { createWriteAccess } from '../../src/core/write-access.ts'
import { DEFAULT_DECODE_LIMITS, decodeFrame } from '../../src/protocol/codec.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { AppendRequest, ServerStore } from '../../src/store/store.ts'
import { SERVER_NODE, temporaryDirectory } from '../support/each-store.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'
import { seedOf } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const HISTORIES = sized(1000, 10_000)
const STARTED_AT = 1_750_000_000_000

/** A field of every kind, and rules that refuse: what is stored in its own way by each store. */
const schema = defineSchema({
  version: 1,
  collections: {
    things: {
      fields: {
        title: t.string().optional(),
        count: t.number().default(0),
        likes: t.number().merge('counter').default(0),
        done: t.boolean().default(false),
        tags: t.array(t.string()).default([]),
        log: t.array(t.string()).merge('append-only').default([]),
        meta: t.json().optional(),
        body: t.richtext().optional(),
        dueAt: t.timestamp().optional(),
        kind: t.enum(['a', 'b']).optional(),
        code: t.string().optional(),
        userId: t.string().optional(),
      },
      constraints: [{ type: 'unique', fields: ['code'], onConflict: 'first-write-wins' }],
      indexes: ['done'],
      scope: ['userId'],
    },
  },
})

// ── what is sent, as text: what one parser reads in one way and another in another ───────────────

const POISON = [
  '"\\u0000"',
  '"a\\u0000b"',
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"\\ud83d\\ude00"',
  '"\\u2028\\ufffe\\ufeff"',
  '"\\\\u0000"',
  '"\'; DROP TABLE things; --"',
  '"__proto__"',
  '1e400',
  '-1e400',
  '-0',
  '-0.0',
  '0e0',
  '1E5',
  '5e-324',
  '1e-400',
  '1.7976931348623157e308',
  '9007199254740993',
  '-9007199254740993',
  '12345678901234567890123',
  '0.1',
  '1.0000000000000002',
  'null',
  '{}',
  '[]',
  '[null]',
  '[-0,1e21,"\\u0000"]',
  '{"a":1,"a":2}',
  '{"__proto__":{"isAdmin":true}}',
  '{"constructor":1}',
  '{"toString":null,"valueOf":1,"hasOwnProperty":2}',
  '{"\\u0000":1}',
  '{"\\ud800":1}',
  '{"":1}',
  '{"2":1,"10":2,"1":3}',
  '{"$koraBytes":"AAECAw=="}',
  '{"$koraBytes":"no base64"}',
  '{"$koraBytes":"AA==","more":1}',
  `${'['.repeat(31)}1${']'.repeat(31)}`,
  `${'['.repeat(33)}1${']'.repeat(33)}`,
] as const

const poison = fc.constantFrom(...POISON)
const word = fc.constantFrom('"x"', '"y"', '"ü"', '"a b"')
const integer = fc.integer({ min: -3, max: 3 }).map(String)
const texts = fc.array(word, { maxLength: 3 }).map((elements) => `[${elements.join()}]`)

const VALUES: { readonly [field: string]: fc.Arbitrary<string> } = {
  title: word,
  count: fc.oneof(integer, fc.double({ noNaN: true, noDefaultInfinity: true }).map(String)),
  likes: integer,
  done: fc.constantFrom('true', 'false'),
  tags: texts,
  log: texts,
  meta: fc.constantFrom('{"a":1}', '{"b":[1,2],"a":null}', '[1]', '"text"', '7'),
  body: word,
  dueAt: fc.integer({ min: 0, max: 2e12 }).map(String),
  kind: fc.constantFrom('"a"', '"b"', '"c"'),
  code: word,
  userId: fc.constantFrom('"u1"', '"u2"', 'null'),
}

/** Of a field that the collection lacks, too. */
function textsOf(field: string): fc.Arbitrary<string> {
  return (Object.hasOwn(VALUES, field) ? VALUES[field] : undefined) ?? word
}

/** Mostly nothing. */
function seldom<Value>(arbitrary: fc.Arbitrary<Value>, outOf: number): fc.Arbitrary<Value | null> {
  return fc.oneof({ weight: outOf - 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary })
}

const entry = fc
  .oneof(
    { weight: 12, arbitrary: fc.constantFrom(...Object.keys(VALUES)) },
    { weight: 1, arbitrary: fc.constantFrom('ghost', 'constructor', '') },
  )
  .chain((field) => fc.tuple(fc.constant(field), fc.oneof({ weight: 9, arbitrary: textsOf(field) }, poison)))
const fields = fc
  .array(entry, { maxLength: 4 })
  .map((entries) => `{${entries.map(([field, value]) => `${JSON.stringify(field)}:${value}`).join()}}`)

const atomics = fc
  .tuple(
    fc.constantFrom('count', 'likes', 'tags', 'title'),
    fc.constantFrom('increment', 'max', 'min', 'append', 'remove'),
    fc.oneof(
      { weight: 4, arbitrary: integer },
      { weight: 2, arbitrary: word },
      { weight: 1, arbitrary: poison },
    ),
  )
  .map(([field, type, value]) => `{"${field}":{"type":"${type}","value":${value}}}`)

/** Where a client's own choice of a text stands. */
const NAMES = ['recordId', 'nodeId', 'transactionId', 'mutationName', 'collection', 'causalDeps'] as const

const step = fc.record({
  type: fc.constantFrom('insert', 'insert', 'update', 'update', 'update', 'delete'),
  record: fc.integer({ min: 0, max: 2 }),
  node: fc.constantFrom('a', 'b'),
  data: fields,
  previousData: seldom(fields, 3),
  atomics: seldom(atomics, 4),
  clock: fc.integer({ min: 1, max: 15 }),
  scope: fc.constantFrom(null, null, 'u1'),
  poisonedName: seldom(fc.tuple(fc.constantFrom(...NAMES), poison), 12),
})
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

const history = fc.array(fc.array(step, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 3 })

/** One operation as a client may write it; its id is that of what a JavaScript client reads in it. */
function textOf(part: Step, run: number, sequenceNumber: number): string {
  const nodeId = `${part.node}${run}`
  const names: { [name in (typeof NAMES)[number]]?: string } = {
    nodeId: JSON.stringify(nodeId),
    collection: '"things"',
    recordId: JSON.stringify(`r${run}-${part.record}`),
    causalDeps: '[]',
  }
  if (part.poisonedName !== null) {
    const [name, text] = part.poisonedName
    names[name] = name === 'causalDeps' ? `[${text}]` : text
  }
  const isDelete = part.type === 'delete'
  const members = {
    type: JSON.stringify(part.type),
    data: isDelete ? 'null' : part.data,
    previousData: part.type === 'update' ? (part.previousData ?? 'null') : 'null',
    timestamp: JSON.stringify({ wallTime: STARTED_AT + part.clock, logical: sequenceNumber % 3, nodeId }),
    sequenceNumber: String(sequenceNumber),
    schemaVersion: '1',
    ...names,
    ...(part.atomics !== null && part.type === 'update' && { atomicOps: part.atomics }),
  }
  const rest = Object.entries(members).map(([name, text]) => `"${name}":${text}`)
  return `{"id":"${idOf(`{${rest.join()}}`)}",${rest.join()}}`
}

function idOf(text: string): string {
  try {
    return computeOperationId(JSON.parse(text) as Operation)
  } catch {
    return 'f'.repeat(64) // what is no operation has no id
  }
}

// ── what becomes of it ─────────────────────────────────────────────────────────────────────────

interface Verdicts {
  /** Of the guards, before any store is asked. */
  readonly refusals: readonly string[]
  readonly requests: readonly AppendRequest[]
}

/** As a session reads a frame and judges each operation. */
function judge(batch: readonly Step[], run: number, firstSequence: number): Verdicts {
  const operations = batch.map((part, index) => textOf(part, run, firstSequence + index))
  const frame = `{"type":"operation-batch","messageId":"m","isFinal":true,"batchIndex":0,"operations":[${operations.join()}]}`
  try {
    const message = decodeFrame({ isBinary: false, bytes: Buffer.from(frame) }, DEFAULT_DECODE_LIMITS)
    if (message.type !== 'operation-batch') throw new Error('It was a batch')
    const refusals: string[] = []
    const requests = message.operations.flatMap((received, index): AppendRequest[] => {
      const refusal = received.ok ? refuseSchemaViolation(received.operation, schema) : received.refusal
      if (refusal !== null || !received.ok) {
        refusals.push(JSON.stringify(refusal))
        return []
      }
      const scope = batch[index]?.scope ?? null
      const access = createWriteAccess(scope === null ? null : { things: { userId: scope } }, 'owner')
      const isIdVerified = checkOperationId(received.operation) === 'verified'
      return [{ operation: received.operation, wireJson: received.wireJson, access, isIdVerified }]
    })
    return { refusals, requests }
  } catch (error) {
    if (error instanceof KoraServerError) return { refusals: [error.message], requests: [] }
    throw error
  }
}

/** Everything that a store shows of a run, as one text: equal texts are equal bytes. */
async function shownBy(store: ServerStore, after: number, recordIds: readonly string[]): Promise<string> {
  const records = []
  for (const id of recordIds) records.push(await store.findRecord('things', id))
  const values = [...(await store.readRecordValues('things', recordIds))].sort(([a], [b]) => (a < b ? -1 : 1))
  return exactJson({
    log: (await store.readLog(after, 1000, 1e9)).entries,
    records: sortedKeysJson(records),
    values,
    count: await store.getOperationCount(),
  })
}

/** JSON that tells -0 from 0. */
function exactJson(value: unknown, change: (inner: unknown) => unknown = (inner) => inner): string {
  return JSON.stringify(value, (_key, inner) => (Object.is(inner, -0) ? 'minus zero' : change(inner)))
}

/** Columns of PostgreSQL hold objects without the order of their keys. */
function sortedKeysJson(value: unknown): string {
  return exactJson(value, (inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}

test(
  'three stores give one verdict: the same log, tables and refusals, byte for byte, whatever is sent',
  async () => {
    using directory = temporaryDirectory()
    await using database = await openTestDatabase()
    const runtime = simulatedRuntime()
    const { connectionString } = database
    const stores: readonly [string, ServerStore][] = [
      ['memory', new MemoryServerStore({ nodeId: SERVER_NODE, runtime })],
      [
        'sqlite',
        createSqliteServerStore({
          filename: `${directory.path}/a.db`,
          nodeId: SERVER_NODE,
          durability: 'normal',
          runtime,
        }),
      ],
      ['postgres', await createPostgresServerStore({ connectionString, nodeId: SERVER_NODE, runtime })],
    ]
    for (const [, store] of stores) await store.setSchema(schema)
    const memory = stores[0]?.[1] as ServerStore
    const counts = { operations: 0, refusedBefore: 0, refusedByStores: 0 }
    let run = 0

    await fc.assert(
      fc.asyncProperty(history, async (batches) => {
        run++
        const after = await memory.getMaxDeliverySequence()
        const recordIds = [0, 1, 2].map((record) => `r${run}-${record}`)
        let sequence = 1
        for (const batch of batches) {
          const { refusals, requests } = judge(batch, run, sequence)
          sequence += batch.length
          counts.operations += batch.length
          counts.refusedBefore += refusals.length
          const results: string[] = []
          for (const [name, store] of stores) {
            const outcome = await store.append(requests).catch((error: unknown) => {
              throw new Error(`${name} could not store ${requests.map(({ wireJson }) => wireJson)}`, {
                cause: error,
              })
            })
            results.push(exactJson(outcome))
          }
          expect(results[1]).toBe(results[0])
          expect(results[2]).toBe(results[0])
          counts.refusedByStores += (results[0]?.match(/"status":"refused"/g) ?? []).length
        }
        const shown = await Promise.all(stores.map(([, store]) => shownBy(store, after, recordIds)))
        expect(shown[1]).toBe(shown[0])
        expect(shown[2]).toBe(shown[0])
      }),
      { numRuns: HISTORIES, seed: seedOf('three stores'), endOnFailure: process.env.SHRINK === undefined },
    )

    const tables = await Promise.all(
      stores.map(async ([, store]) =>
        (await store.materializeCollection('things')).map(sortedKeysJson).sort().join('\n'),
      ),
    )
    expect(tables[1]).toBe(tables[0])
    expect(tables[2]).toBe(tables[0])
    await expectTablesToEqualReplay(memory)
    for (const [, store] of stores) await store.close()
    reportFigures('three stores, one verdict', { histories: run, ...counts })
  },
  timeoutMs(600_000),
)

async function expectTablesToEqualReplay(store: ServerStore): Promise<void> {
  const histories = new Map<string, Operation[]>()
  for (let after = 0; ; ) {
    const page = await store.getOperationsAfterDelivery(after, 1000)
    for (const { operation } of page) {
      if (operation.collection !== 'things') continue
      const own = histories.get(operation.recordId) ?? []
      histories.set(operation.recordId, [...own, operation])
    }
    after = page.at(-1)?.deliverySequence ?? after
    if (page.length === 0) break
  }
  const definition = schema.collections.things ?? null
  for (const [recordId, own] of histories) {
    const replayed = replayRecord(own, definition)
    const shown = (await store.readRecordValues('things', [recordId])).get(recordId)
    expect(shown?.values ?? null).toEqual(replayed?.values ?? null)
  }
}
