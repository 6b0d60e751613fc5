import { expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'
import { rulesOf } from '../../../src/store/integrity/integrity-rules.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { teamSchema } from '../../support/team-schema.ts'

const schema = teamSchema
const MEMBERS = { collection: 'members' }
const TEAMS = { collection: 'teams' }

/** Members, whose badges are not what the tests are about. */
function memberAuthor(nodeId = 'a', startAt?: number) {
  const author = new OperationAuthor(nodeId, startAt)
  return {
    insert: (id: string, data: FieldValues) => author.insert(id, { isActive: false, ...data }, MEMBERS),
    update: (id: string, data: FieldValues, parts: Partial<Operation> = {}) =>
      author.update(id, data, { ...MEMBERS, ...parts }),
    delete: (id: string) => author.delete(id, MEMBERS),
    team: (id: string, data: FieldValues) => author.insert(id, data, TEAMS),
    deleteTeam: (id: string) => author.delete(id, TEAMS),
  }
}

async function refusalOf(store: ServerStore, operation: Operation, writeScope: object | null = null) {
  const [result] = await store.append([requestOf(operation, { writeScope: writeScope as never })])
  return result?.status === 'refused' ? result.refusal : null
}

const REFUSED = 'CONSTRAINT_VIOLATION'
const ENCRYPTED = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

describeEachStore('a constraint without fields', (openStore) => {
  const lists = { collection: 'lists' }
  const open = (constraint: { type: 'unique' | 'capacity'; where?: { [field: string]: boolean | null } }) =>
    openStore({
      schema: defineSchema({
        version: 1,
        collections: {
          lists: {
            fields: { name: t.string(), isDefault: t.boolean().optional() },
            constraints: [{ fields: [], onConflict: 'first-write-wins', ...constraint }],
          },
        },
      }),
    })

  test('is about the records that its filter is for', async () => {
    await using store = await open({ type: 'unique', where: { isDefault: true } })
    const author = new OperationAuthor('a')

    const first = author.insert('l1', { name: 'a', isDefault: true }, lists)
    expect(await appendAll(store, [first])).toEqual(['applied'])
    expect(await refusalOf(store, author.insert('l2', { name: 'b', isDefault: true }, lists))).toMatchObject({
      code: REFUSED,
      message: expect.stringContaining('The unique constraint on isDefault of lists is violated'),
    })
    expect(
      await appendAll(store, [
        author.insert('l2', { name: 'b' }, lists),
        author.insert('l3', { name: 'c', isDefault: false }, lists),
        author.update('l3', { isDefault: true }, lists),
        author.update('l1', { isDefault: false }, lists),
        author.update('l3', { isDefault: true }, lists),
        author.update('l1', { isDefault: true }, lists),
      ]),
    ).toEqual(['applied', 'applied', REFUSED, 'applied', 'applied', REFUSED])
  })

  test('finds those without a value', async () => {
    await using store = await open({ type: 'capacity', where: { isDefault: null } })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('l1', { name: 'a' }, lists)])

    expect(
      await appendAll(store, [
        author.insert('l2', { name: 'b', isDefault: null }, lists),
        author.insert('l3', { name: 'c' }, lists),
        author.insert('l4', { name: 'd', isDefault: true }, lists),
        author.update('l4', { isDefault: null }, lists),
      ]),
    ).toEqual(['applied', REFUSED, 'applied', REFUSED])
  })

  test('and without a filter is about all of the collection', async () => {
    await using store = await open({ type: 'unique' })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('l1', { name: 'a' }, lists)])

    expect(await refusalOf(store, author.insert('l2', { name: 'b' }, lists))).toMatchObject({
      message: expect.stringContaining('The unique constraint of lists is violated'),
    })
    expect(
      await appendAll(store, [
        author.update('l1', { name: 'c' }, lists),
        author.delete('l1', lists),
        author.insert('l2', { name: 'b' }, lists),
      ]),
    ).toEqual(['applied', 'applied', 'applied'])
  })
})

describeEachStore('a unique constraint', (openStore) => {
  test('refuses a value that another live record has, and says which constraint it was', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [author.insert('m1', { email: 'a@x.test' })])

    expect(await refusalOf(store, author.insert('m2', { email: 'a@x.test' }))).toEqual({
      code: REFUSED,
      message: 'The unique constraint on email of members is violated: another record has the same values.',
      retriable: false,
    })
    expect(await store.countCollection('members')).toBe(1)
    expect(await store.getOperationCount()).toBe(1)
  })

  test('holds for what a restore has put in the place of the log', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [author.insert('m1', { email: 'a@x.test' })])

    await store.importBackup(await store.exportBackup())

    expect(await refusalOf(store, author.insert('m2', { email: 'a@x.test' }))).toMatchObject({
      code: REFUSED,
    })
    expect(await store.countCollection('members')).toBe(1)
  })

  test('is judged inside a batch too, and the rest of the batch goes on', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()

    expect(
      await appendAll(store, [
        author.insert('m1', { email: 'a@x.test' }),
        author.insert('m2', { email: 'a@x.test' }),
        author.update('m1', { email: 'b@x.test' }),
        author.insert('m3', { email: 'a@x.test' }),
        author.update('m1', { email: 'a@x.test' }),
        author.delete('m3'),
        author.update('m1', { email: 'a@x.test' }),
        author.insert('m4', { email: 'b@x.test' }),
      ]),
    ).toEqual(['applied', REFUSED, 'applied', 'applied', REFUSED, 'applied', 'applied', 'applied'])
  })

  test('lets go of what its record gave up in an earlier batch', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [
      author.insert('m1', { email: 'a@x.test' }),
      author.insert('m2', { email: 'b@x.test' }),
    ])
    await appendAll(store, [author.update('m1', { email: 'c@x.test' }), author.delete('m2')])

    expect(
      await appendAll(store, [
        author.insert('m3', { email: 'a@x.test' }),
        author.insert('m4', { email: 'b@x.test' }),
        author.insert('m5', { email: 'c@x.test' }),
      ]),
    ).toEqual(['applied', 'applied', REFUSED])
  })

  test('refuses to bring back a record whose value was taken meanwhile', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [author.insert('m1', { email: 'a@x.test' }), author.delete('m1')])
    await appendAll(store, [author.insert('m2', { email: 'a@x.test' })])

    expect(await appendAll(store, [author.update('m1', { desk: 'd' })])).toEqual([REFUSED])
    expect(await store.findRecord('members', 'm1')).toBeNull()
  })

  test('does not take null, missing values, arrays or objects for equal', async () => {
    await using store = await openStore({
      schema: defineSchema({
        version: 1,
        collections: {
          docs: {
            fields: {
              a: t.string().optional(),
              tags: t.array(t.string()).optional(),
              meta: t.json().optional(),
            },
            constraints: ['a', 'tags', 'meta'].map((field) => ({
              type: 'unique' as const,
              fields: [field],
              onConflict: 'first-write-wins',
            })),
          },
        },
      }),
    })
    const author = new OperationAuthor('a')
    const insert = (id: string, data: FieldValues) => author.insert(id, data, { collection: 'docs' })

    const operations = [
      { a: null },
      {},
      {},
      { a: null },
      { tags: ['x'] },
      { tags: ['x'] },
      { meta: { k: 1 } },
      { meta: { k: 1 } },
    ]
    const codes = await appendAll(
      store,
      operations.map((data, index) => insert(`d${index}`, data)),
    )
    expect(new Set(codes)).toEqual(new Set(['applied']))

    const scalars = [
      { meta: 'x' },
      { meta: '"x"' },
      { meta: 1 },
      { meta: '1' },
      { meta: true },
      { meta: 'x' },
      { meta: 1 },
    ]
    expect(
      await appendAll(
        store,
        scalars.map((data, index) => insert(`s${index}`, data)),
      ),
    ).toEqual([...Array(5).fill('applied'), REFUSED, REFUSED])
  })

  test('with a filter concerns only the records that match it; an absent field has its default', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()

    expect(
      await appendAll(store, [
        author.insert('m1', { isActive: true, badge: 7 }),
        author.insert('m2', { isActive: false, badge: 7 }),
        author.insert('m3', { isActive: true, badge: 7 }),
        author.update('m2', { isActive: true }),
        author.update('m1', { isActive: false }),
        author.update('m2', { isActive: true }),
        author.update('m4', { email: 'x@x.test' }), // active with badge 0, by default
        author.update('m5', { email: 'y@x.test' }),
      ]),
    ).toEqual(['applied', 'applied', REFUSED, REFUSED, 'applied', 'applied', 'applied', REFUSED])
    await appendAll(store, [author.update('m1', { isActive: true, badge: 8 })])
    expect(await appendAll(store, [author.update('m2', { badge: 8 })])).toEqual([REFUSED])
  })

  test('lets a record be changed in other respects, also one that was in violation before', async () => {
    await using store = await openStore()
    const author = memberAuthor()
    await appendAll(store, [
      author.insert('m1', { email: 'a@x.test' }),
      author.insert('m2', { email: 'a@x.test' }),
    ])
    await store.setSchema(schema)

    expect(
      await appendAll(store, [
        author.update('m2', { desk: 'd' }),
        author.update('m2', { email: 'a@x.test' }),
        author.insert('m3', { email: 'a@x.test' }),
      ]),
    ).toEqual(['applied', 'applied', REFUSED])
  })

  test('is judged by what the fold gives: a late value that loses takes nothing', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    const late = memberAuthor('late', 1_740_000_000_000)
    await appendAll(store, [
      author.insert('m1', { email: 'a@x.test' }),
      author.insert('m2', { email: 'b@x.test' }),
    ])

    expect(await appendAll(store, [late.update('m2', { email: 'a@x.test' })])).toEqual(['applied'])
    expect(await store.findRecord('members', 'm2')).toMatchObject({ email: 'b@x.test' })
  })

  test('is about what an encrypted record holds in the clear, as the server last saw it', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    const holder = { email: 'a@x.test', isActive: true } // and the badge that everybody has

    expect(
      await appendAll(store, [
        author.insert('m1', holder),
        author.insert('m2', { email: 'b@x.test' }),
        author.update('m1', ENCRYPTED),
        author.update('m2', ENCRYPTED),
        author.update('m2', { email: 'a@x.test' }),
        author.update('m2', { isActive: true }),
        author.update('m2', { teamId: 't1' }),
        author.delete('m2'),
        author.insert('m2', { email: 'a@x.test' }),
        author.update('m1', { email: 'c@x.test', isActive: false }),
        author.insert('m2', holder),
        author.delete('m1'),
        author.update('m1', ENCRYPTED), // comes back with what it had
        author.update('m1', { email: 'a@x.test' }),
      ]),
    ).toEqual([
      ...['applied', 'applied', 'applied', 'applied', REFUSED, REFUSED, REFUSED, 'applied', REFUSED],
      ...['applied', 'applied', 'applied', 'applied', REFUSED],
    ])
  })

  test('is about what was written in the clear on an encrypted insert, and about no default', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    const plain = new OperationAuthor('b', 1_740_000_000_000)

    expect(
      await appendAll(store, [
        plain.insert('m1', ENCRYPTED, MEMBERS),
        author.update('m1', { isActive: true }), // its badge is not known
        author.update('m2', { isActive: true }), // has that by default
        author.update('m1', { email: 'a@x.test' }),
        author.insert('m3', { email: 'a@x.test' }),
        author.update('m1', { badge: 0 }),
        author.update('m1', { badge: 1 }),
      ]),
    ).toEqual(['applied', 'applied', 'applied', 'applied', REFUSED, REFUSED, 'applied'])
  })

  test('is about the defaults of an encrypted record once its insert comes in the clear', async () => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    const late = author.insert('m1', {}, MEMBERS)

    expect(
      await appendAll(store, [
        author.update('m1', ENCRYPTED, MEMBERS),
        author.insert('m2', {}, MEMBERS),
        late,
        author.update('m2', { isActive: false }, MEMBERS),
        late,
        author.update('m2', { isActive: true }, MEMBERS),
      ]),
    ).toEqual(['applied', 'applied', REFUSED, 'applied', 'applied', REFUSED])
  })

  test('leaves records alone that are wholly encrypted', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    const plain = new OperationAuthor('b')

    expect(
      await appendAll(store, [
        plain.insert('m1', ENCRYPTED, MEMBERS),
        plain.insert('m2', ENCRYPTED, MEMBERS),
        author.update('m3', { email: 'x@x.test' }), // has the defaults that the others seem to have
      ]),
    ).toEqual(['applied', 'applied', 'applied'])
  })

  test('of two writers at the same time, lets exactly one have the value', async () => {
    await using store = await openStore({ schema })
    const authors = Array.from({ length: 8 }, (_, index) => memberAuthor(`n${index}`))

    const outcomes = await Promise.all(
      authors.map((author, index) => appendAll(store, [author.insert(`m${index}`, { email: 'a@x.test' })])),
    )

    expect(outcomes.flat().sort()).toEqual([...Array(7).fill(REFUSED), 'applied'])
    expect(await store.countCollection('members', { email: 'a@x.test' })).toBe(1)
  })

  test('holds after a restart of the schema, on the records that are there', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [author.insert('m1', { email: 'a@x.test' })])
    await store.setSchema(schema)
    await store.rebuildCollections()

    expect(await appendAll(store, [author.insert('m2', { email: 'a@x.test' })])).toEqual([REFUSED])
  })
})

describeEachStore('a capacity constraint', (openStore) => {
  test('refuses the third member of a group', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    const seat = (id: string, desk: string | null, floor: number) => author.insert(id, { desk, floor })

    expect(
      await appendAll(store, [
        seat('m1', 'd', 1),
        seat('m2', 'd', 1),
        seat('m3', 'd', 1),
        seat('m4', 'd', 2),
        seat('m5', null, 1),
        author.update('m2', { email: 'b@x.test' }),
        author.update('m2', { floor: 2 }),
        author.update('m5', { desk: 'd' }),
        author.update('m4', { floor: 1 }),
      ]),
    ).toEqual(['applied', 'applied', REFUSED, 'applied', 'applied', 'applied', 'applied', 'applied', REFUSED])
    expect(await refusalOf(store, seat('m6', 'd', 1))).toMatchObject({
      message:
        'The capacity constraint on desk, floor of members is violated: there may be 2 records with the same values, and there are.',
    })
  })

  test('of one member says what a unique constraint says', async () => {
    const constraint = { type: 'capacity', fields: ['room'], onConflict: 'first-write-wins', limit: 1 }
    const collections = {
      docs: { fields: { room: { kind: 'string', required: false } }, constraints: [constraint] },
    }
    await using store = await openStore({ schema: parseSchema({ version: 1, collections }) })
    const author = new OperationAuthor('a')
    const insert = (id: string) => author.insert(id, { room: 'r' }, { collection: 'docs' })
    await appendAll(store, [insert('1')])

    expect(await refusalOf(store, insert('2'))).toMatchObject({
      message: expect.stringContaining('is violated: another record has the same values.'),
    })
  })

  test.each(['limit', 'max'])('takes another number from its property %s', async (property) => {
    const constraint = { type: 'capacity', fields: ['room'], onConflict: 'first-write-wins', [property]: 3 }
    const field = { kind: 'string', required: false }
    const withLimit = parseSchema({
      version: 1,
      collections: { docs: { fields: { room: field }, constraints: [constraint] } },
    })
    await using store = await openStore({ schema: withLimit })
    const author = new OperationAuthor('a')
    const operations = ['1', '2', '3', '4'].map((id) =>
      author.insert(id, { room: 'r' }, { collection: 'docs' }),
    )

    expect(await appendAll(store, operations)).toEqual(['applied', 'applied', 'applied', REFUSED])
  })
})

describeEachStore('a referential constraint', (openStore) => {
  test('wants a live record, which an earlier operation of the batch may have made', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [author.team('t1', { name: 'one' })])

    expect(
      await appendAll(store, [
        author.insert('m1', { teamId: 't1' }),
        author.insert('m2', { teamId: 't2' }),
        author.team('t2', { name: 'two' }),
        author.insert('m2', { teamId: 't2' }),
        author.insert('m3', { teamId: null }),
        author.deleteTeam('t1'),
        author.update('m3', { teamId: 't1' }),
        author.update('m3', { email: 'x@x.test' }),
      ]),
    ).toEqual(['applied', REFUSED, 'applied', 'applied', 'applied', 'applied', REFUSED, 'applied'])
    expect(await refusalOf(store, author.insert('m4', { teamId: 'gone' }))).toMatchObject({
      message:
        'The referential constraint on teamId of members is violated: there is no such record of teams that the author may refer to.',
    })
  })

  test('answers the same for a record that does not exist and one that the author may not see', async () => {
    await using store = await openStore({ schema })
    const author = memberAuthor()
    await appendAll(store, [author.team('t1', { name: 'theirs' }), author.team('t2', { name: 'mine' })])
    const scope = { members: {}, teams: { name: 'mine' } }

    const [foreign, missing] = [
      await refusalOf(store, author.insert('m1', { teamId: 't1' }), scope),
      await refusalOf(store, author.insert('m1', { teamId: 't9' }), scope),
    ]
    expect(foreign).toEqual(missing)
    expect(foreign?.code).toBe(REFUSED)
    expect(await refusalOf(store, author.insert('m1', { teamId: 't2' }), scope)).toBeNull()
  })

  test('is not taken for a collection that the schema does not have, and finds nothing in one where it was', async () => {
    const elsewhere = defineSchema({
      version: 1,
      collections: {
        docs: {
          fields: { ref: t.string().optional() },
          constraints: [
            { type: 'referential', fields: ['ref'], where: { collection: 'gone' }, onConflict: 'x' },
          ],
        },
      },
    })
    await using store = await openStore()

    await expect(store.setSchema(elsewhere)).rejects.toThrow('Unknown collection "gone"')
    const earlier = rulesOf(parseSchema(elsewhere, { isStored: true }), 'docs')
    expect(earlier?.constraints).toMatchObject([{ type: 'referential', target: null }])
  })

  test('refuses what cannot be an id', async () => {
    const withNumber = defineSchema({
      version: 1,
      collections: {
        docs: {
          fields: { parent: t.number().optional() },
          constraints: [
            { type: 'referential', fields: ['parent'], where: { collection: 'docs' }, onConflict: 'x' },
          ],
        },
      },
    })
    await using store = await openStore({ schema: withNumber })
    const author = new OperationAuthor('a')
    const docs = { collection: 'docs' }

    expect(
      await appendAll(store, [author.insert('1', {}, docs), author.insert('d', { parent: 1 }, docs)]),
    ).toEqual(['applied', REFUSED])
  })
})
