import { expect, expectTypeOf, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import {
  defineSchema,
  type InferInsertInput,
  type InferRecord,
  type InferUpdateInput,
} from '../../../src/core/schema/define-schema.ts'
import { migrate } from '../../../src/core/schema/migration-builder.ts'

const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        priority: t.enum(['low', 'high']).optional(),
        tags: t.array(t.string()),
        createdAt: t.timestamp().auto(),
        settings: t.object({ theme: t.string(), size: t.number().optional() }),
      },
    },
  },
})

test('the types of records follow from the schema', () => {
  type Todo = InferRecord<typeof schema, 'todos'>
  expectTypeOf<Todo['title']>().toEqualTypeOf<string>()
  expectTypeOf<Todo['done']>().toEqualTypeOf<boolean>()
  expectTypeOf<Todo['priority']>().toEqualTypeOf<'low' | 'high' | null>()
  expectTypeOf<Todo['tags']>().toEqualTypeOf<string[]>()
  expectTypeOf<Todo['settings']['theme']>().toEqualTypeOf<string>()

  type NewTodo = InferInsertInput<typeof schema, 'todos'>
  expectTypeOf<{ title: string; tags: string[]; settings: { theme: string } }>().toExtend<NewTodo>()
  expectTypeOf<'createdAt'>().not.toExtend<keyof NewTodo>()

  expectTypeOf<{ title: null }>().toExtend<InferUpdateInput<typeof schema, 'todos'>>()
})

test('builders are immutable', () => {
  const title = t.string()
  title.optional()
  title.default('x')
  expect(title.toDescriptor()).toMatchObject({ required: true, defaultValue: undefined })
})

test.each([
  ['id', 'is the name of a column that every table has; choose another'],
  ['_version', 'is the name of a column that every table has; choose another'],
  ['Title', 'must start with a lower-case letter and hold only letters, digits and "_"'],
])('says what is wrong with the name of the field %s', (name, problem) => {
  const define = () => defineSchema({ version: 1, collections: { a: { fields: { [name]: t.string() } } } })
  expect(define).toThrowError(`1 problem:\ncollections.a.fields.${name}: ${problem}`)
})

test('lists every problem at once', () => {
  const define = () =>
    defineSchema({
      version: 0,
      collections: { a: { fields: { x: t.string() }, indexes: ['y'] } },
      relations: { r: { from: 'a', to: 'b', type: 'many-to-one', field: 'x', onDelete: 'cascade' } },
    })
  expect(define).toThrowError(/3 problems:\nversion: .*\ncollections\.a\.indexes: .*\nrelations\.r\.to: /)
})

test('names that Object.prototype has are unknown fields', () => {
  const define = () =>
    defineSchema({ version: 1, collections: { a: { fields: { x: t.string() }, indexes: ['toString'] } } })
  expect(define).toThrowError(/Unknown field "toString"/)
})

test('a migration with rollback steps is safely reversible', () => {
  const migration = migrate().removeField('todos', 'old')
  expect(migration.safelyReversible).toBe(false)
  expect(migration.rollback(migrate().addField('todos', 'old', t.string())).safelyReversible).toBe(true)
})
