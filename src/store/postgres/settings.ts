import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import { TrackedFields } from '../delivery/tracked-fields.ts'
import { parseFormerNodes } from '../former-nodes.ts'
import type { SchemasInUse } from '../materialize/schemas-in-use.ts'
import { CollectionTables } from './collection-tables.ts'
import type { PostgresDatabase, Queries } from './database.ts'
import { END_COLUMNS, type EndRow } from './log-end.ts'

/**
 * What decides how operations are stored, as all servers of the database have agreed: a commit that
 * was planned by other settings than those in force is planned again. @see plan-writer.ts
 */
export interface Settings {
  /** Another one after each change. @see NEXT_EPOCH */
  readonly epoch: number
  readonly tracked: TrackedFields
  /** What the tables show: this server's schema, or the one of another release beside it. */
  readonly schema: SchemaDefinition | null
  readonly tables: CollectionTables | null
  /** The node that this server writes as: another one once a restore has replaced the log, unless it was chosen. */
  readonly serverNodeId: string
  readonly formerNodeIds: ReadonlySet<string>
  /** The last number that this node id may have been given in logs before this one. */
  readonly serverBase: number
}

/**
 * Where a replica that lacks changes takes over, other changes follow in their place: counted one by one, two servers
 * could mean different settings by the same epoch.
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

/** Settings, with where the log that they are of ended when they were read. */
export interface ReadSettings {
  readonly settings: Settings
  /** This server's schema, with what the database remembers of others. */
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

/** What is this server's alone. */
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
