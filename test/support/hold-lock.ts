import pg from 'pg'
import type { TestDatabase } from './postgres.ts'

/** Keeps others from writing to a table. */
export async function holdLock(
  { connectionString }: TestDatabase,
  table: string,
): Promise<AsyncDisposable & { release(): Promise<void> }> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query(`BEGIN; LOCK TABLE ${table} IN EXCLUSIVE MODE`)
  let isHeld = true
  const release = async (): Promise<void> => {
    if (isHeld) await client.end()
    isHeld = false
  }
  return { release, [Symbol.asyncDispose]: release }
}
