import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../../src/core/schema/parse-schema.ts'
import type { RecordLookup } from '../../../src/store/append/load.ts'
import { rulesOf } from '../../../src/store/integrity/integrity-rules.ts'
import { CollectionTables as PostgresTables } from '../../../src/store/postgres/collection-tables.ts'
import type { PostgresDatabase, Transaction } from '../../../src/store/postgres/database.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { CollectionTables } from '../../../src/store/sqlite/collection-tables.ts'
import { loadSqliteDriver, type SqliteDatabase } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { openTestDatabase } from '../../support/postgres.ts'

const onConflict = 'first-write-wins'
const schema = parseSchema(
  defineSchema({
    version: 1,
    collections: {
      tenants: { fields: { name: t.string() } },
      docs: {
        fields: {
          tenantId: t.string().optional(),
          slug: t.string().optional(),
          isMain: t.boolean().default(false),
          isFirst: t.boolean().default(false),
          rank: t.number().optional(),
          meta: t.json().optional(),
        },
        constraints: [
          { type: 'unique', fields: ['tenantId', 'slug'], onConflict },
          { type: 'unique', fields: ['tenantId'], where: { isMain: true }, onConflict },
          { type: 'unique', fields: ['rank'], where: { slug: null }, onConflict },
          { type: 'capacity', fields: ['meta', 'rank'], onConflict },
          { type: 'unique', fields: [], where: { isFirst: true }, onConflict },
        ],
      },
    },
    relations: {
      docTenant: { from: 'docs', to: 'tenants', type: 'many-to-one', field: 'tenantId', onDelete: 'cascade' },
    },
  }),
)

const VALUES: { readonly [field: string]: string | number | boolean | null } = {
  tenantId: 'a',
  slug: 'b',
  isMain: true,
  isFirst: true,
  rank: 1,
  meta: 'x',
}

/** One lookup by each index of the schema. */
const lookups: RecordLookup[] = (rulesOf(schema, 'docs')?.indexes ?? []).map((index) => ({
  index,
  values: index.fields.map((field) => VALUES[field] ?? null),
  limit: 1000,
}))

test('SQLite answers every lookup from the index that was made for it', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  await store.setSchema(schema)
  await store.close()
  const db = new (loadSqliteDriver())(filename)
  const statements: string[] = []
  const recording = new Proxy(db, {
    get: (target, property) => {
      if (property !== 'prepare') return Reflect.get(target, property)
      return (sql: string) => {
        statements.push(sql)
        return target.prepare(sql)
      }
    },
  }) as SqliteDatabase
  const tables = new CollectionTables(recording, schema)

  const plans = lookups.map((lookup) => {
    tables.findLive(lookup)
    const rows = db
      .prepare(`EXPLAIN QUERY PLAN ${statements.at(-1)}`)
      .all(
        ...lookup.values.filter((value) => value !== null).map((value) => (value === true ? 1 : value)),
        1000,
      )
    return rows.map((row) => (row as { detail: string }).detail)
  })
  db.close()

  expect(plans).toEqual(
    lookups.map(({ index }) => [
      expect.stringMatching(
        new RegExp(
          `^SEARCH docs USING INDEX _kora_ix_docs_${index.fields.join('_')}__deleted_\\w+ \\(${index.fields.map((field) => `${field}=\\?`).join(' AND ')} AND _deleted=\\?\\)$`,
        ),
      ),
    ]),
  )
})

test('PostgreSQL answers every lookup from an index of all its columns', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await store.setSchema(schema)
  await store.close()
  await database.query(`INSERT INTO docs (id, "tenantId", slug, "isMain", "isFirst", rank, meta)
    SELECT 'd' || n, 't' || n % 141, 's' || n / 141, n / 141 % 2, (n = 20000)::int, n % 141, to_jsonb(n / 141)
    FROM generate_series(1, 20000) AS n`)
  await database.query('ANALYZE docs')
  const plans: string[] = []
  const transaction = {
    async rows(sql: string, parameters: readonly unknown[]) {
      const rows = await database.query(`EXPLAIN ${sql}`, parameters)
      plans.push(rows.map((row) => String(row['QUERY PLAN'])).join('\n'))
      return []
    },
  } as unknown as Transaction // nothing else is asked of it
  const tables = new PostgresTables({ table: (name: string) => `"${name}"` } as PostgresDatabase, schema)

  const withNull = lookups.find(({ index }) => index.fields.join() === 'rank,slug')
  for (const lookup of lookups) await tables.findLive(transaction, [lookup])
  if (withNull !== undefined) await tables.findLive(transaction, [{ ...withNull, values: [1, null] }])

  const indexes = plans.map((plan) => /Index Cond: (.*)/.exec(plan)?.[1])
  expect(indexes).toMatchInlineSnapshot(`
    [
      "((hashtextextended("tenantId", '0'::bigint) = hashtextextended(_kora_sought.v1, '0'::bigint)) AND (hashtextextended(slug, '0'::bigint) = hashtextextended(_kora_sought.v2, '0'::bigint)))",
      "((hashtextextended("tenantId", '0'::bigint) = hashtextextended(_kora_sought.v1, '0'::bigint)) AND ("isMain" = _kora_sought.v2))",
      "((rank = _kora_sought.v1) AND (hashtextextended(slug, '0'::bigint) = hashtextextended(_kora_sought.v2, '0'::bigint)))",
      "((jsonb_hash_extended(meta, '0'::bigint) = jsonb_hash_extended(_kora_sought.v1, '0'::bigint)) AND (rank = _kora_sought.v2))",
      "(("isFirst" = 1) AND (_deleted = 0))",
      "("tenantId" = _kora_sought.v1)",
      "((rank = _kora_sought.v1) AND (hashtextextended(slug, '0'::bigint) IS NULL))",
    ]
  `)
  for (const plan of plans) expect(plan).not.toContain('Seq Scan')
})
