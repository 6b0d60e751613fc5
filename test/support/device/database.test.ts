import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { FieldValues, JsonValue, Operation } from '../../../src/core/operation.ts'
import { readRichText } from '../../../src/core/record/richtext.ts'
import type { FieldDescriptor, Resolver, SchemaDefinition } from '../../../src/core/schema/types.ts'
import { DeviceDatabase } from './database.ts'

interface ConvergenceCase {
  readonly name: string
  readonly fields: { readonly [field: string]: FieldDescriptor }
  /** The text of a function that is the resolver of every field. */
  readonly resolvers?: string
  readonly operations: readonly Operation[]
  readonly authors: readonly (FieldValues | null)[]
  readonly observerConnectedThroughout: FieldValues | null
  readonly freshClient: FieldValues | null
}

const { cases } = JSON.parse(
  readFileSync(new URL('../../conformance/vectors/client-convergence.json', import.meta.url), 'utf8'),
) as { cases: readonly ConvergenceCase[] }

const sum: Resolver = (local, remote, base) => Number(local) + Number(remote) + Number(base)

describe('a device ends where real clients were seen to end', () => {
  test.each(cases)('$name: fresh client', (recorded) => {
    const device = openDatabase(recorded, 'fresh')
    for (const operation of recorded.operations) device.receive(operation)

    expect(shown(device, recorded)).toEqual(comparable(recorded.freshClient))
  })

  test.each(cases)('$name: authors', (recorded) => {
    const nodeIds = [...new Set(recorded.operations.map((operation) => operation.nodeId))]
    const [first, ...later] = recorded.operations as [Operation, ...Operation[]]

    const seen = nodeIds.map((nodeId) => {
      const device = openDatabase(recorded, nodeId)
      if (first.nodeId === nodeId) device.restore(first)
      else device.receive(first)
      for (const operation of later) if (operation.nodeId === nodeId) device.restore(operation)
      for (const operation of later) if (operation.nodeId !== nodeId) device.receive(operation)
      return shown(device, recorded)
    })

    expect(seen).toEqual(recorded.authors.map(comparable))
  })
})

function openDatabase({ fields, resolvers }: ConvergenceCase, nodeId: string): DeviceDatabase {
  const schema: SchemaDefinition = {
    version: 1,
    collections: {
      docs: {
        fields,
        indexes: [],
        constraints: [],
        resolvers: resolvers ? Object.fromEntries(Object.keys(fields).map((field) => [field, sum])) : {},
        scope: [],
        stateMachine: undefined,
      },
    },
    relations: {},
    migrations: {},
  }
  return new DeviceDatabase({ nodeId, now: () => 1_748_736_900_000, schema, schemaVersion: 1 })
}

function shown(device: DeviceDatabase, { fields, operations }: ConvergenceCase): unknown {
  const record = device.records('docs').find(({ id }) => id === operations[0]?.recordId)
  if (!record) return null
  const { id: _id, ...values } = record
  const texts = Object.entries(values).map(([field, value]): [string, JsonValue] => [
    field,
    fields[field]?.kind === 'richtext' ? { $text: readRichText(value) } : value,
  ])
  return comparable(Object.fromEntries(texts))
}

/** Missing and null count as equal. */
function comparable(record: FieldValues | null): unknown {
  if (record === null) return null
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null))
}
