import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { schemaFingerprint } from '../../../src/core/schema/fingerprint.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { withEarlierFields } from '../../../src/store/materialize/earlier-fields.ts'
import { SchemasInUse } from '../../../src/store/materialize/schemas-in-use.ts'
import { serializeStoredSchema } from '../../../src/store/materialize/stored-schema.ts'
import { fieldOfKind } from '../../support/schema-builders.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const title = t.string()
const first = defineSchema({
  version: 1,
  collections: { todos: { fields: { title, old: t.json().optional() } } },
})
const second = defineSchema({ version: 2, collections: { todos: { fields: { title } } } })

function storedAs(schema: SchemaDefinition) {
  return { text: serializeStoredSchema(schema), fingerprint: schemaFingerprint(schema) }
}

test('the schema in force has the fields of earlier ones, also in a process that did not change it', () => {
  const stored = { ...todoSchema, retired: { todos: { pin: fieldOfKind('secret') } } }
  const other = { text: serializeStoredSchema(stored), fingerprint: 'of another' }

  expect(new SchemasInUse().read(other, null).inForce).toEqual(stored)
  expect(new SchemasInUse().read(other, todoSchema).inForce).toEqual(stored)
})

test('what is stored of other versions is remembered, while they are in force and once they are not', () => {
  const schemas = new SchemasInUse()
  const there = withEarlierFields(second, first)
  const back = withEarlierFields(first, there)

  const during = schemas.read(storedAs(there), first)
  const after = schemas.read(storedAs(back), during.own)

  expect(during.own).toEqual({ ...first, otherVersions: { 2: { todos: ['title'] } } })
  expect(during.inForce).toEqual(there)
  expect(after.own).toEqual(during.own)
  expect(after.inForce).toBe(after.own)
})

test('nothing is another object that is read again and has not changed', () => {
  const schemas = new SchemasInUse()
  const there = withEarlierFields(second, first)
  const back = withEarlierFields(first, there)

  const during = schemas.read(storedAs(there), first)
  expect(schemas.read(storedAs(there), during.own)).toBe(during)
  const after = schemas.read(storedAs(back), during.own)

  expect(after.own).toBe(during.own) // it remembers what it did
  expect(schemas.read(storedAs(back), after.own)).toBe(after)
  expect(new SchemasInUse().read(storedAs(first), first).own).toBe(first)
  expect(new SchemasInUse().read(storedAs(back), back).own).toBe(back) // made here, without going through JSON
})

test('a process whose own schema is stored goes on where the text cannot be read', () => {
  const damaged = { ...storedAs(first), text: serializeStoredSchema(first).replace('old', 'odd') }

  expect(new SchemasInUse().read(damaged, first)).toEqual({ own: first, inForce: first })
  expect(() => new SchemasInUse().read(damaged, second)).toThrow(
    expect.objectContaining({ code: 'STORE_CORRUPT' }),
  )
})
