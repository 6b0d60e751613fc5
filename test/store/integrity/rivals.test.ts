import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { teamSchema } from '../../support/team-schema.ts'

const ROUNDS = 25
const CONSTRAINED = 'CONSTRAINT_VIOLATION'

/** Two servers that write to one database at the same time. */
async function expectRivalsToBeKept(stores: readonly ServerStore[]): Promise<void> {
  const rivals = stores.map((store, index) => ({ store, author: new OperationAuthor(`n${index}`) }))
  const compete = async (operation: (author: OperationAuthor, index: number) => Operation) =>
    (
      await Promise.all(
        rivals.map(({ store, author }, index) => appendAll(store, [operation(author, index)])),
      )
    ).flat()
  const members = { collection: 'members' }
  const teams = { collection: 'teams' }

  for (let round = 0; round < ROUNDS; round++) {
    const email = `${round}@x.test`
    const taken = await compete((author, index) =>
      author.insert(`m${round}-${index}`, { email, isActive: false }, members),
    )
    expect(taken.sort()).toEqual([CONSTRAINED, 'applied'])

    await appendAll(stores[0] as ServerStore, [
      new OperationAuthor('admin', 1_740_000_000_000 + round).insert(
        `t${round}`,
        { name: `t${round}` },
        teams,
      ),
    ])
    const joined = await compete((author, index) =>
      index === 0
        ? author.delete(`t${round}`, teams)
        : author.insert(`j${round}`, { teamId: `t${round}`, isActive: false }, members),
    )
    const member = await (stores[0] as ServerStore).findRecord('members', `j${round}`)
    // Whoever came second saw what the first had done.
    expect(joined[1] === 'applied' ? member?.teamId : joined[1]).toBe(
      joined[1] === 'applied' ? null : CONSTRAINED,
    )
  }
  expect(await (stores[0] as ServerStore).countCollection('teams')).toBe(0)
}

test('two servers on one PostgreSQL never let both have the last place', async () => {
  await using database = await openTestDatabase()
  const open = async () => {
    const store = await createPostgresServerStore({ connectionString: database.connectionString })
    await store.setSchema(teamSchema)
    return store
  }
  const stores = [await open(), await open()]

  await expectRivalsToBeKept(stores)

  for (const store of stores) await store.close()
}, 120_000)

test('two processes on one SQLite file never let both have the last place', async () => {
  using directory = temporaryDirectory()
  const open = async () => {
    const store = createSqliteServerStore({
      filename: join(directory.path, 'store.db'),
      durability: 'normal',
    })
    await store.setSchema(teamSchema)
    return store
  }
  const stores = [await open(), await open()]

  await expectRivalsToBeKept(stores)

  for (const store of stores) await store.close()
}, 120_000)
