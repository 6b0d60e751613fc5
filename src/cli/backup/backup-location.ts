import { existsSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { displayPath } from '../../config/display-path.ts'
import type { ServerConfig, StoreConfig } from '../../config/server-config.ts'
import { ConfigError, StoreError } from '../../core/errors.ts'
import { type BackupSource, fileSource } from '../../store/backup/backup-source.ts'
import { S3Bucket } from '../../store/backup/s3-bucket.ts'
import { untilAborted } from '../../store/backup/until-aborted.ts'
import { writeBackupFile } from '../../store/backup/write-backup-file.ts'
import type { Terminal } from '../terminal.ts'

/** The place of a backup that a command names: a file, `-` for stdin or stdout, or `s3://bucket/key`. */
export interface BackupLocation {
  /** Its name in messages. */
  readonly name: string
  exists(): Promise<boolean>
  /**
   * @param store of the backup that will be written
   * @throws ConfigError `INVALID_ARGUMENT` where not even a user who wants to overwrite a file can mean this one
   */
  requireReplaceable(store: StoreConfig): Promise<void>
  /**
   * @param signal aborting it leaves nothing behind, except on stdout
   * @returns the number of bytes written
   */
  write(source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number>
  /** @throws ConfigError `INVALID_ARGUMENT` when there is no such backup */
  open(): Promise<OpenedLocation>
  close(): Promise<void>
}

export interface OpenedLocation {
  readonly source: BackupSource
  /** null: unknown before it is read; it can be read only once */
  readonly bytes: number | null
}

const STDIO = '-'
/** Used where no bucket is configured: the same defaults as AWS tools. */
const AWS_ENVIRONMENT = { endpoint: null, region: null, forcePathStyle: false, credentials: null }
const S3_URL = /^s3:\/\/([^/]+)\/(.+)$/

/**
 * @param loadConfig called only for `s3://` URLs, because `backup.s3` has the endpoint and the credentials
 * @throws ConfigError `INVALID_ARGUMENT`
 */
export async function openBackupLocation(
  text: string,
  terminal: Terminal,
  loadConfig: () => Promise<Pick<ServerConfig, 'backup'>>,
): Promise<BackupLocation> {
  if (text === STDIO) return stdio(terminal)
  if (!text.startsWith('s3:')) return file(text, terminal)
  const [, bucket, key] = S3_URL.exec(text) ?? []
  if (bucket === undefined || key === undefined || key.endsWith('/')) {
    throw new ConfigError('INVALID_ARGUMENT', `"${text}" names no object. Write s3://bucket/key.`)
  }
  const { backup } = await loadConfig()
  return object(key, await S3Bucket.open({ ...(backup?.s3 ?? AWS_ENVIRONMENT), bucket }))
}

function stdio({ stdout, readStdin }: Terminal): BackupLocation {
  return {
    name: 'stdout',
    async exists() {
      return false
    },
    async requireReplaceable() {},
    async write(source, signal) {
      if (stdout.isTerminal) {
        throw new ConfigError('INVALID_ARGUMENT', 'A backup is binary: pipe it, or name a file.')
      }
      let bytes = 0
      for await (const piece of untilAborted(source, signal)) {
        await stdout.write(piece).catch(throwNotWhole)
        bytes += piece.byteLength
      }
      return bytes
    },
    async open() {
      return { source: readStdin(), bytes: null }
    },
    async close() {},
  }
}

/** Turns a reader that ended early into an error: unlike the output of a query, a partial backup is useless. */
function throwNotWhole(error: unknown): never {
  const { code } = (error as Error).cause as NodeJS.ErrnoException
  throw new StoreError(
    'BACKUP_NOT_WRITTEN',
    `The backup is incomplete: stdout cannot be written (${code}). What came out of it cannot be restored.`,
    { cause: error },
  )
}

function file(text: string, { cwd }: Terminal): BackupLocation {
  const path = resolve(cwd, text)
  return {
    name: displayPath(path, cwd),
    async exists() {
      return existsSync(path)
    },
    async requireReplaceable(store) {
      const problem = await findReplacementProblem(path, store)
      if (problem !== null) throw new ConfigError('INVALID_ARGUMENT', `${displayPath(path, cwd)} ${problem}`)
    },
    async write(source, signal) {
      return (await writeBackupFile(path, source, signal)).bytes
    },
    async open() {
      const found = await stat(path).catch(() => null)
      if (found?.isFile()) return { source: fileSource(path), bytes: found.size }
      const problem = found === null ? 'does not exist' : 'is not a file'
      throw new ConfigError('INVALID_ARGUMENT', `${text} ${problem}. Name a backup.`)
    },
    async close() {},
  }
}

/** Why a backup may not replace the file at a path, and what to do about it; null where it may. */
async function findReplacementProblem(path: string, store: StoreConfig): Promise<string | null> {
  const found = await stat(path).catch(() => null)
  if (found?.isDirectory()) return 'is a folder. Name a file in it.'
  if (found !== null && !found.isFile()) return 'is not a file. Name one, or - for stdout.'
  if (store.driver !== 'sqlite') return null
  const [place, database] = [await placeOf(path), await placeOf(store.filename)]
  const isOfStore = SQLITE_FILES.some((suffix) => place === `${database}${suffix}`)
  return isOfStore ? 'belongs to the database that is backed up. Name another file.' : null
}

/** Suffixes of the files that SQLite keeps for a database, some only while it is open. */
const SQLITE_FILES = ['', '-wal', '-shm', '-journal']

/** The real location of a file that exists or will be created, whatever links lead to it. */
async function placeOf(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    const folder = await realpath(dirname(path)).catch(() => dirname(path)) // it may be created with the file
    return join(folder, basename(path))
  }
}

const NAMED_NEIGHBOURS = 3

function object(key: string, bucket: S3Bucket): BackupLocation {
  const name = bucket.urlOf(key)
  return {
    name,
    async exists() {
      return (await bucket.find(key)) !== null
    },
    async requireReplaceable() {},
    async write(source, signal) {
      return (await bucket.write(key, source, signal)).bytes
    },
    async open() {
      const found = await bucket.find(key)
      if (found !== null) return { source: () => bucket.read(key, found), bytes: found.bytes }
      throw new ConfigError(
        'INVALID_ARGUMENT',
        `${name} does not exist. ${await describeNeighbours(key, bucket)}`,
      )
    },
    close: () => bucket.close(),
  }
}

/** Describes backups beside the one not found. They are named by their time, so the last ones are the most likely. */
async function describeNeighbours(key: string, bucket: S3Bucket): Promise<string> {
  const folder = key.slice(0, key.lastIndexOf('/') + 1)
  const keys = await bucket.list(folder)
  const newest = keys.sort().slice(-NAMED_NEIGHBOURS).reverse()
  if (newest.length === 0) return `Nothing is in ${bucket.urlOf(folder)}.`
  return `The last ones in ${bucket.urlOf(folder)}: ${newest.map((name) => name.slice(folder.length)).join(', ')}.`
}
