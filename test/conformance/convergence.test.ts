import { expect, test } from 'vitest'
import type { JsonValue, Operation } from '../../src/core/operation.ts'
import { parseSchema } from '../../src/core/schema/parse-schema.ts'
import type { FieldDescriptor, SchemaDefinition, StateMachine } from '../../src/core/schema/types.ts'
import { readableRichtext } from '../../src/store/materialize/readable-richtext.ts'
import type { MaterializedRecord } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, withId } from '../support/operation-author.ts'
import { loadVectors } from '../support/vectors.ts'

interface ConvergenceCase {
  readonly name: string
  readonly fields: { readonly [field: string]: FieldDescriptor }
  readonly stateMachine?: StateMachine
  readonly resolvers?: string
  readonly operations: readonly [Operation, ...Operation[]]
  readonly freshClient: { readonly [field: string]: JsonValue } | null
}

const { cases } = loadVectors<{ cases: readonly ConvergenceCase[] }>('client-convergence')
/** The policy makes no difference to changes that are all valid. */
const settingBack = cases.flatMap((recorded): ConvergenceCase[] => {
  const { stateMachine } = recorded
  if (stateMachine === undefined) return []
  return [{ ...recorded, stateMachine: { ...stateMachine, onInvalidTransition: 'last-valid-state' } }]
})
const scenarios = [...cases, ...settingBack]

describeEachStore('the tables of a store', (openStore) => {
  test('show what real clients came to, whichever device is heard first', async () => {
    await using store = await openStore({ schema: schemaOfScenarios() })

    for (const [index, { name, fields, operations, freshClient }] of scenarios.entries()) {
      const [insert, ...changes] = operations
      const collection = collectionOf(index)
      for (const [order, arriving] of permutationsOf(changes).entries()) {
        const part = { collection, recordId: `r${order}` }
        const batches = [insert, ...arriving].map((operation) => [withId({ ...operation, ...part })])
        for (const batch of batches) expect(await appendAll(store, batch), name).toEqual(['applied'])

        const record = await store.findRecord(collection, part.recordId)

        expect(record && shown(record, fields), name).toEqual(freshClient && comparable(freshClient, fields))
      }
    }
  })
})

/** Each scenario has a collection of its own. */
function collectionOf(index: number): string {
  return `docs${index}`
}

function schemaOfScenarios(): SchemaDefinition {
  const collections = scenarios.map(({ fields, stateMachine, resolvers }, index) => {
    const resolving = resolvers === undefined ? {} : { resolvers: { n: addAll } }
    return [collectionOf(index), { fields, stateMachine, ...resolving }]
  })
  return parseSchema({ version: 1, collections: Object.fromEntries(collections), relations: {} })
}

function addAll(local: JsonValue, remote: JsonValue, base: JsonValue): JsonValue {
  return Number(local) + Number(remote) + Number(base)
}

function permutationsOf<Item>(items: readonly Item[]): Item[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item) =>
    permutationsOf(items.filter((other) => other !== item)).map((rest) => [item, ...rest]),
  )
}

/** Values as the recording shows them: rich text by its text. */
function shown(record: MaterializedRecord, fields: ConvergenceCase['fields']): { [field: string]: unknown } {
  return Object.fromEntries(
    Object.entries(fields).map(([field, { kind }]) => {
      const value = record[field]
      const isRichtext = kind === 'richtext' && value !== null
      return [field, isRichtext ? { $text: readableRichtext(value as string | Uint8Array) } : value] // as its column holds it
    }),
  )
}

/** A table has a column for every field: what is missing counts as null. */
function comparable(record: { readonly [field: string]: JsonValue }, fields: ConvergenceCase['fields']) {
  return Object.fromEntries(Object.keys(fields).map((field) => [field, record[field] ?? null]))
}
