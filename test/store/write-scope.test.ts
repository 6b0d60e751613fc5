import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import type { Refusal } from '../../src/core/refusal.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../support/operation-author.ts'

const MINE = { todos: { userId: 'me' } }
const NOT_YOURS: Refusal = { code: 'NOT_YOURS', message: 'Only its owner does that.', retriable: false }

async function refusalOf(store: ServerStore, operation: Operation): Promise<string | null> {
  const [result] = await store.append([requestOf(operation, { writeScope: MINE })])
  return result?.status === 'refused' ? `${result.refusal.code}: ${result.refusal.message}` : null
}

describeEachStore('write scope', (openStore) => {
  test('lets an author write its own records', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')

    const codes = await appendAll(
      store,
      [
        author.insert('r1', { title: 'x', userId: 'me' }),
        author.update('r1', { title: 'y' }),
        author.delete('r1'),
        author.update('r1', { title: 'z' }),
      ],
      { writeScope: MINE },
    )

    expect(codes).toEqual(['applied', 'applied', 'applied', 'applied'])
  })

  test('refuses to change, delete or replace a foreign record, whatever the operation claims', async () => {
    await using store = await openStore()
    await appendAll(store, [new OperationAuthor('victim').insert('r1', { title: 'x', userId: 'them' })])
    const author = new OperationAuthor('a')
    const claim = { previousData: { userId: 'me' } }

    for (const operation of [
      author.update('r1', { title: 'y' }, claim),
      author.update('r1', { userId: 'me' }, claim),
      author.delete('r1', claim),
      author.insert('r1', { title: 'y', userId: 'me' }),
    ]) {
      expect(await refusalOf(store, operation)).toMatch(/^SCOPE_VIOLATION/)
    }
    const record = (await store.readRecordValues('todos', ['r1'])).get('r1')
    expect(record).toEqual({ values: { title: 'x', userId: 'them' }, isDeleted: false })
  })

  test('refuses to bring back a foreign record that was deleted', async () => {
    await using store = await openStore()
    const victim = new OperationAuthor('victim')
    await appendAll(store, [victim.insert('r1', { title: 'x', userId: 'them' }), victim.delete('r1')])

    const refusal = await refusalOf(
      store,
      new OperationAuthor('a').insert('r1', { title: 'y', userId: 'me' }),
    )

    expect(refusal).toMatch(/^SCOPE_VIOLATION/)
  })

  test('refuses to give a record away, and to make one outside the scope', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { title: 'x', userId: 'me' })], { writeScope: MINE })

    expect(await refusalOf(store, author.update('r1', { userId: 'them' }))).toMatch(/^SCOPE_VIOLATION/)
    expect(await refusalOf(store, author.insert('r2', { userId: 'them' }))).toMatch(/^SCOPE_VIOLATION/)
    expect(await refusalOf(store, author.insert('r3', { userId: 'me' }, { collection: 'other' }))).toMatch(
      /^SCOPE_VIOLATION/,
    )
  })

  test('gives the same answer whether or not the record exists', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const update = author.update('r1', { title: 'y' })
    const remove = author.delete('r1')

    const withoutRecord = [await refusalOf(store, update), await refusalOf(store, remove)]
    await appendAll(store, [new OperationAuthor('victim').insert('r1', { title: 'x', userId: 'them' })])
    const withRecord = [await refusalOf(store, update), await refusalOf(store, remove)]

    expect(withRecord).toEqual(withoutRecord)
  })

  test('judges each operation of a batch by what the ones before it have left', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')

    const codes = await appendAll(
      store,
      [
        author.update('r1', { title: 'too early' }),
        author.insert('r1', { title: 'x', userId: 'me' }),
        author.update('r1', { title: 'y' }),
      ],
      { writeScope: MINE },
    )

    expect(codes).toEqual(['SCOPE_VIOLATION', 'applied', 'applied'])
  })

  test('tells what the application says against an operation only to who may write the record', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [
      new OperationAuthor('victim').insert('foreign', { title: 'x', userId: 'them' }),
      author.insert('own', { title: 'x', userId: 'me' }),
    ])
    const foreign = [author.update('foreign', { title: 'y' }), author.delete('foreign')]
    const missing = [author.update('missing', { title: 'y' }), author.delete('missing')]
    const given = [author.update('own', { title: 'y' }), author.insert('new', { userId: 'me' })]

    for (const applicationVerdict of ['ignore', NOT_YOURS] as const) {
      const outside = [...foreign, ...missing, author.insert('new', { userId: 'them' })]
      const codesOutside = await appendAll(store, outside, { writeScope: MINE, applicationVerdict })
      const codes = await appendAll(store, given, { writeScope: MINE, applicationVerdict })

      expect(codesOutside).toEqual(outside.map(() => 'SCOPE_VIOLATION'))
      expect(codes).toEqual(given.map(() => (applicationVerdict === 'ignore' ? 'ignored' : 'NOT_YOURS')))
    }
    expect(await store.getOperationCount()).toBe(2)
  })

  test('what the application has let pass before it only calls known, whatever it says now', async () => {
    await using store = await openStore()
    const operation = new OperationAuthor('a').insert('own', { title: 'x', userId: 'me' })
    await appendAll(store, [operation], { writeScope: MINE })

    for (const applicationVerdict of ['ignore', NOT_YOURS] as const) {
      expect(await appendAll(store, [operation], { writeScope: MINE, applicationVerdict })).toEqual([
        'duplicate',
      ])
    }
  })
})
