import { existsSync } from 'node:fs'
import pg from 'pg'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'

/** What a server has stored beyond a place of its log. */
export interface Stored {
  readonly operations: number
  /** Without those that are there twice. */
  readonly different: number
  /** Rows of the table that people query, from the beginning. */
  readonly records: number
}

/** How far it was at some time. */
export interface Mark {
  readonly position: number
  readonly records: number
}

/** The database of a server, read beside it: what an acknowledgment says is believed of nobody. */
export interface Database {
  mark(): Promise<Mark>
  storedAfter(position: number): Promise<Stored>
}

interface Names {
  readonly log: string
  /** What tells two operations apart. */
  readonly identity: string
}

const BARE: Names = { log: 'log', identity: 'id' }
const OURS_ON_SQLITE: Names = { log: '_kora_operations', identity: "node || ' ' || sequence_number" }
const OURS_ON_POSTGRES: Names = { log: '_kora_operations', identity: 'id' }

export function sqliteDatabase(filename: string, { isOurs }: { isOurs: boolean }): Database {
  const names = isOurs ? OURS_ON_SQLITE : BARE
  const read = <Row>(text: string, empty: Row): Row => {
    if (!existsSync(filename)) return empty
    const db = new (loadSqliteDriver())(filename, { readonly: true })
    try {
      return db.prepare<[], Row>(text).get() ?? empty
    } finally {
      db.close()
    }
  }
  return {
    mark: async () => read(markText(names), { position: 0, records: 0 }),
    storedAfter: async (position) =>
      read(storedText(names, position), { operations: 0, different: 0, records: 0 }),
  }
}

export function postgresDatabase(connectionString: string, { isOurs }: { isOurs: boolean }): Database {
  const names = isOurs ? OURS_ON_POSTGRES : BARE
  const read = async (text: string): Promise<Record<string, number>> => {
    const client = new pg.Client({ connectionString })
    await client.connect()
    try {
      const { rows } = await client.query(text)
      return Object.fromEntries(Object.entries(rows[0]).map(([name, value]) => [name, Number(value)]))
    } finally {
      await client.end()
    }
  }
  return {
    async mark() {
      const { found } = await read(`SELECT count(to_regclass('${names.log}')) AS found`)
      const { position = 0, records = 0 } = found === 0 ? {} : await read(markText(names))
      return { position, records }
    },
    async storedAfter(from) {
      const { operations = 0, different = 0, records = 0 } = await read(storedText(names, from))
      return { operations, different, records }
    },
  }
}

function markText({ log }: Names): string {
  return `SELECT (SELECT coalesce(max(seq), 0) FROM ${log}) AS position, (SELECT count(*) FROM todos) AS records`
}

function storedText({ log, identity }: Names, position: number): string {
  return (
    `SELECT count(*) AS operations, count(DISTINCT ${identity}) AS different, ` +
    `(SELECT count(*) FROM todos) AS records FROM ${log} WHERE seq > ${position}`
  )
}
