import { schemaFingerprint } from '../../core/schema/fingerprint.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { renderStep } from '../materialize/ddl.ts'
import { withEarlierFields } from '../materialize/earlier-fields.ts'
import { joinSchemas, type SchemaJoin } from '../materialize/join-schemas.ts'
import {
  assertNothingRefused,
  keptTables,
  newTablesOf,
  refuseForeignTables,
} from '../materialize/schema-change.ts'
import { parseStoredSchema, serializeStoredSchema } from '../materialize/stored-schema.ts'
import type { PostgresDatabase, Transaction } from './database.ts'
import { metaTable } from './meta-table.ts'
import { namesInUse } from './names-in-use.ts'
import type { PostgresCore } from './postgres-core.ts'

/**
 * Also records the schemas of another store, and makes room for them in the tables. The caller notifies other
 * servers by a new epoch.
 *
 * @returns what was done; `isFirst`: there were no tables before, and existing records are not in them yet
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
 */
export async function joinSchema(
  db: PostgresDatabase,
  transaction: Transaction,
  other: SchemaDefinition,
): Promise<SchemaJoin & { readonly isFirst: boolean }> {
  const stored = await metaTable.get(transaction, 'schema')
  const own = stored === null ? null : parseStoredSchema(stored)
  const join = joinSchemas(own, other)
  // A table that was once created here may exist again.
  const foreign = newTablesOf(join).filter((name) => !keptTables(own).includes(name))
  const present = await namesInUse(transaction, db.schema, foreign)
  assertNothingRefused(refuseForeignTables({ ...join, refusals: [] }, present))
  for (const step of join.steps) {
    for (const sql of renderStep(step, 'postgres', db.schema)) await transaction.records(sql, [])
  }
  await metaTable.set(transaction, 'schema', serializeStoredSchema(join.materialized))
  if (stored === null) {
    await metaTable.set(transaction, 'schema_fingerprint', schemaFingerprint(join.materialized))
  }
  return { ...join, isFirst: stored === null }
}

/** Adopts what is recorded by now into the schema of this process. */
export async function rememberIn(core: PostgresCore): Promise<void> {
  const stored = await metaTable.get(core.db, 'schema')
  if (stored === null) return
  const recorded = parseStoredSchema(stored)
  core.ownSchema = core.ownSchema === null ? recorded : withEarlierFields(core.ownSchema, recorded)
}
