import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import type { TestDatabase } from '../postgres.ts'

/** A file of a table, of what it has put elsewhere, or of an index. */
export interface RelationFile {
  readonly name: string
  readonly path: string
  readonly bytes: number
}

export async function relationFiles(database: TestDatabase): Promise<readonly RelationFile[]> {
  const rows = await database.query(
    `SELECT c.relname AS name, current_setting('data_directory') || '/' || pg_relation_filepath(c.oid) AS path,
        pg_relation_size(c.oid)::integer AS bytes
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'i', 't') AND pg_relation_size(c.oid) > 0
        AND (n.nspname = 'public' OR c.oid IN (SELECT reltoastrelid FROM pg_class WHERE relnamespace = 'public'::regnamespace))
      ORDER BY c.relname`,
  )
  return rows as unknown as RelationFile[] // as the statement selects them
}

/** @param position counted over all files, one behind the other */
export function flipInPlace(files: readonly RelationFile[], position: number, bit: number): void {
  let at = position
  const file = files.find(({ bytes }) => {
    if (at < bytes) return true
    at -= bytes
    return false
  }) as RelationFile // the position is within them
  const descriptor = openSync(file.path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(descriptor, byte, 0, 1, at)
  byte[0] = (byte[0] ?? 0) ^ (1 << bit)
  writeSync(descriptor, byte, 0, 1, at)
  closeSync(descriptor)
}
