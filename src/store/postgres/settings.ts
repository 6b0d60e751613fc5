import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import { TrackedFields } from '../delivery/tracked-fields.ts'
import { parseFormerNodes } from '../former-nodes.ts'
import type { SchemasInUse } from '../materialize/schemas-in-use.ts'
import { CollectionTables } from './collection-tables.ts'
import type { PostgresDatabase, Queries } from './database.ts'
import { END_COLUMNS, type EndRow } from './log-end.ts'

/**
 * Settings that decide how operations are stored, agreed on by all servers of the database: a commit that was
 * planned with other settings than those in force is planned again. @see plan-writer.ts
 */
export interface Settings {
  /** Changes with every change of the settings. @see NEXT_EPOCH */
  readonly epoch: number
  readonly tracked: TrackedFields
  /** The schema that the tables show: this server's, or the one of another release that runs beside it. */
  readonly schema: SchemaDefinition | null
  readonly tables: CollectionTables | null
  /** The node that this server writes as: a new one after a restore replaced the log, unless the id was chosen. */
  readonly serverNodeId: string
  readonly formerNodeIds: ReadonlySet<string>
  /** The highest number that earlier logs may have given to this node id. */
  readonly serverBase: number
}

/**
 * Random, because a replica that lacks changes may take over and then make others: if epochs were counted one by
 * one, two servers could mean different settings by the same epoch.
 */
export const NEXT_EPOCH = 'epoch + 1 + (random() * 1e9)::bigint'

/** Settings of a database without tables. */
export const NO_SETTINGS: Settings = {
  epoch: 0,
  tracked: new TrackedFields(),
  schema: null,
  tables: null,
  serverNodeId: '',
  formerNodeIds: new Set(),
  serverBase: 0,
}

/** Settings, with the end that their log had when they were read. */
export interface ReadSettings {
  readonly settings: Settings
  /** This server's schema, together with what the database remembers of others. */
  readonly ownSchema: SchemaDefinition | null
  readonly end: EndRow
}

type SettingsRow = [
  fingerprint: string | null,
  schema: string | null,
  nodeId: string | null,
  formerNodeIds: string | null,
  newNodeId: string | null,
  serverBase: number,
  tracked: {
    id: number
    collection: string
    field: string | null
    is_granted: boolean
    is_ready: boolean
  }[],
  ...EndRow,
]

/** Settings of this server alone. */
export interface OwnSettings {
  readonly schema: SchemaDefinition | null
  readonly schemas: SchemasInUse
  /** undefined: none was chosen */
  readonly nodeId: string | undefined
}

/** @throws as `parseStoredSchema` */
export async function readSettings(
  db: PostgresDatabase,
  queries: Queries,
  own: OwnSettings,
): Promise<ReadSettings> {
  const [row] = await queries.rows<SettingsRow>(
    `SELECT (SELECT value FROM {meta} WHERE key = 'schema_fingerprint'),
        (SELECT value FROM {meta} WHERE key = 'schema'),
        (SELECT value FROM {meta} WHERE key = 'node_id'),
        (SELECT value FROM {meta} WHERE key = 'former_node_ids'),
        (SELECT value FROM {meta} WHERE key = 'new_node_id'),
        coalesce((SELECT value FROM {meta} WHERE key = 'server_base')::bigint, 0),
        (SELECT coalesce(json_agg(json_build_object('id', t.id, 'collection', c.name, 'field', t.field,
            'is_granted', t.is_granted, 'is_ready', t.is_ready) ORDER BY t.id), '[]')
          FROM {tracked} t JOIN {collections} c ON c.id = t.collection),
        ${END_COLUMNS}
      FROM {counters} WHERE id = 1`,
  )
  if (row === undefined) throw new Error('The row of the counters is missing')
  const [fingerprint, text, nodeId, formerNodeIds, newNodeId, serverBase, trackedRows, ...end] = row
  const { own: ownSchema, inForce: schema } = own.schemas.read({ text, fingerprint }, own.schema)
  const serverNodeId = own.nodeId ?? nodeId ?? ''
  const settings: Settings = {
    epoch: end[3],
    tracked: new TrackedFields(
      trackedRows.map(({ id, collection, field, is_granted, is_ready }) => ({
        id,
        collection,
        field,
        isGranted: is_granted,
        isReady: is_ready,
      })),
    ),
    schema,
    tables: schema === null ? null : new CollectionTables(db, schema),
    serverNodeId,
    formerNodeIds: parseFormerNodes(formerNodeIds),
    serverBase: serverNodeId === newNodeId ? 0 : serverBase,
  }
  return { settings, ownSchema, end }
}

/** The definition of a collection; null without a schema, or where the schema does not have it. */
export function collectionIn(schema: SchemaDefinition | null, name: string): CollectionDefinition | null {
  if (schema === null || !Object.hasOwn(schema.collections, name)) return null
  return schema.collections[name] ?? null
}
