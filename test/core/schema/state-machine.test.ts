import { expect, test } from 'vitest'
import { checkTransition, refuseTransition, stateFields } from '../../../src/core/schema/state-machine.ts'
import { buildCollection, buildField } from '../../support/core-builders.ts'

const collection = buildCollection(
  {
    status: buildField({ kind: 'enum', enumValues: ['draft', 'sent', 'done'] }),
    light: buildField({
      kind: 'enum',
      enumValues: ['red', 'green'],
      transitions: { red: ['green', 'red'], green: ['red'] },
    }),
    title: buildField({ kind: 'string' }),
  },
  {
    stateMachine: {
      field: 'status',
      transitions: { draft: ['sent'], sent: ['done'] },
      onInvalidTransition: 'last-valid-state',
    },
  },
)

test.each([
  ['status', 'draft', 'sent'],
  ['status', undefined, 'done'],
  ['status', null, 'done'],
  ['light', 'red', 'red'],
  ['title', 'a', 'b'],
  ['unknown', 'a', 'b'],
] as const)('%s may go from %s to %s', (field, from, to) => {
  expect(checkTransition(collection, field, from, to)).toBeNull()
})

test.each([
  ['status', 'draft', 'done', 'last-valid-state'],
  ['status', 'draft', 'draft', 'last-valid-state'],
  ['status', 'done', 'draft', 'last-valid-state'],
  ['status', 'draft', null, 'last-valid-state'],
  ['status', 'constructor', 'name', 'last-valid-state'],
  ['light', 'green', 'green', 'reject'],
] as const)('%s may not go from %s to %s', (field, from, to, policy) => {
  expect(checkTransition(collection, field, from, to)).toMatchObject({ field, from, to, policy })
})

test('what the transitions of a field forbid is rejected, whatever the machine of the collection does', () => {
  const states = buildField({
    kind: 'enum',
    enumValues: ['draft', 'sent', 'done'],
    transitions: { draft: ['sent'], sent: ['draft', 'done'] },
  })
  const both = buildCollection(
    { status: states },
    {
      stateMachine: {
        field: 'status',
        transitions: { draft: ['sent', 'done'], sent: ['done'] },
        onInvalidTransition: 'last-valid-state',
      },
    },
  )

  const policyOf = (from: string, to: string) => checkTransition(both, 'status', from, to)?.policy

  expect(policyOf('draft', 'done')).toBe('reject') // only the field forbids it
  expect(policyOf('sent', 'draft')).toBe('last-valid-state') // only the machine does
  expect(policyOf('done', 'draft')).toBe('reject') // both do
  expect(policyOf('draft', 'sent')).toBeUndefined()
})

test('the refusal names what may follow', () => {
  const finding = checkTransition(collection, 'status', 'draft', 'done')
  expect(finding && refuseTransition('orders', finding).message).toBe(
    'orders.status cannot go from "draft" to "done" (allowed: sent).',
  )
})

test('fields of both forms have states', () => {
  expect(stateFields(collection)).toEqual(['status', 'light'])
})
