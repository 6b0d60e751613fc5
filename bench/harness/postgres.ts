import pg from 'pg'
import { connectionStringOf, PostgresServer } from '../../test/support/postgres.ts'
import type { FillPostgresOptions } from '../processes/postgres-filler.ts'
import { Child } from './child.ts'

/** PostgreSQL as it is installed, so that every commit waits for the disk; one for the whole run. */
let starting: Promise<PostgresServer> | null = null
let databases = 0
const filled = new Map<number, Promise<string>>()

/** @returns the connection string of an empty database */
export async function newPostgresDatabase(template = 'template0'): Promise<string> {
  starting ??= PostgresServer.start()
  const { port } = await starting
  const name = `bench_${++databases}`
  const client = new pg.Client({ connectionString: connectionStringOf(port, 'postgres') })
  await client.connect()
  try {
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${template} ENCODING 'UTF8'`)
    await client.query('CHECKPOINT') // of what was copied, which is nobody's work that is measured
  } finally {
    await client.end()
  }
  return connectionStringOf(port, name)
}

/** A copy of a database with so many operations; made once per run of the benchmarks. */
export async function filledPostgresDatabase(operations: number): Promise<string> {
  let original = filled.get(operations)
  if (original === undefined) {
    original = fill(operations)
    filled.set(operations, original)
  }
  return newPostgresDatabase(await original)
}

async function fill(operations: number): Promise<string> {
  const connectionString = await newPostgresDatabase()
  await using filler = new Child('postgres-filler')
  await filler.call('fill', { connectionString, operations } satisfies FillPostgresOptions)
  return new URL(connectionString).pathname.slice(1)
}

export async function stopPostgres(): Promise<void> {
  const server = await starting
  starting = null
  filled.clear()
  await server?.[Symbol.asyncDispose]()
}
