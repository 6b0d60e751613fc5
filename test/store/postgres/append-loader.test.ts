import { expect, test } from 'vitest'
import type { LoadRequest } from '../../../src/store/append/load.ts'
import { AppendLoader } from '../../../src/store/postgres/append-loader.ts'
import type { Transaction } from '../../../src/store/postgres/database.ts'
import { OperationAuthor } from '../../support/operation-author.ts'

const operation = new OperationAuthor('a').insert('r1', { title: 'x' })

/** A transaction that notes which statements are sent, and answered. */
function openLoader(isDroppedUsed: boolean) {
  const asked: string[] = []
  const transaction = {
    async prepared(text: string, [ids]: [Buffer]) {
      expect(ids.readInt32BE(12), 'ids that are sought').toBe(1)
      const isOfLog = text.includes('{operations}')
      asked.push(isOfLog ? 'log' : 'dropped')
      await Promise.resolve()
      asked.push(isOfLog ? 'log answered' : 'dropped answered')
      return isOfLog ? [[1, isDroppedUsed, null, null, null]] : []
    },
  } as unknown as Transaction // the one method that is called
  const loader = new AppendLoader(transaction, {
    schema: 'public',
    collectionIds: new Map(),
    tables: null,
    dropped: { isUsed: false },
  })
  return { loader, asked }
}

const request = (isIdVerified: boolean): LoadRequest => ({
  operations: [{ operation, isIdVerified }],
  records: [],
  histories: [],
})

test('an operation whose id proves nothing is not sought by its content while nothing was dropped', async () => {
  const { loader, asked } = openLoader(false)

  await loader.load(request(false))
  await loader.load(request(false))

  expect(asked).toEqual(['log', 'log answered', 'log', 'log answered'])
})

test('once something was dropped, it is sought there, without another round trip after the first', async () => {
  const { loader, asked } = openLoader(true)

  await loader.load(request(false))
  expect(asked.splice(0)).toEqual(['log', 'log answered', 'dropped', 'dropped answered'])
  await loader.load(request(false))
  expect(asked.splice(0)).toEqual(['log', 'dropped', 'log answered', 'dropped answered'])
  await loader.load(request(true))
  expect(asked).toEqual(['log', 'log answered'])
})
