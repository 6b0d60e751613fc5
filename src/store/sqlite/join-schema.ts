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
import { namesInUse } from './names-in-use.ts'
import type { SqliteCore } from './sqlite-core.ts'

/**
 * Also records the schemas of another store, and makes room for them in the tables. Call it inside a write
 * transaction.
 *
 * @returns what was done; `isFirst`: there were no tables before, and existing records are not in them yet
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
 */
export function joinSchema(
  core: SqliteCore,
  other: SchemaDefinition,
): SchemaJoin & { readonly isFirst: boolean } {
  const stored = core.meta.get('schema')
  const own = stored === null ? null : parseStoredSchema(stored)
  const join = joinSchemas(own, other)
  // A table that was once created here may exist again.
  const foreign = newTablesOf(join).filter((name) => !keptTables(own).includes(name))
  assertNothingRefused(refuseForeignTables({ ...join, refusals: [] }, namesInUse(core.db, foreign)))
  for (const step of join.steps) {
    for (const sql of renderStep(step, 'sqlite')) core.db.exec(sql)
  }
  core.meta.set('schema', serializeStoredSchema(join.materialized))
  if (stored === null) core.meta.set('schema_fingerprint', schemaFingerprint(join.materialized))
  remember(core, join.materialized)
  return { ...join, isFirst: stored === null }
}

/** Adopts what another connection has recorded into the schema of this process. */
export function rememberIn(core: SqliteCore): void {
  const stored = core.meta.get('schema')
  if (stored !== null) remember(core, parseStoredSchema(stored))
}

function remember(core: SqliteCore, recorded: SchemaDefinition): void {
  const { ownSchema } = core
  core.useSchema(ownSchema === null ? recorded : withEarlierFields(ownSchema, recorded))
}
