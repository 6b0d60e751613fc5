import { statSync } from 'node:fs'
import { StoreError } from '../../core/errors.ts'
import { findReadProblem, findWriteProblem } from '../../core/write-problem.ts'

/** Translates a failure of SQLite for the caller; anything else is returned as it is. */
export function toStoreError(error: unknown, filename: string): unknown {
  const code = sqliteCodeOf(error)
  if (code === null) return error
  const failure = FAILURES.find(({ prefix }) => code.startsWith(prefix))
  if (failure === undefined) return error
  return new StoreError(failure.code, `${filename}: ${failure.reason}`, { cause: error })
}

/**
 * SQLite's messages for a statement that fits the expected layout, in a file whose definitions differ. Other
 * messages mean a mistake in the statement.
 */
const OTHER_LAYOUT =
  /^(no such (table|column): |table \S+ has no column named |table \S+ already exists$|unknown function: |unsupported file format$)/

/** Translates a failure of the first read of the tables in a file that was opened. */
export function toLayoutError(error: unknown, filename: string): unknown {
  if (!isOfOtherLayout(error)) return toStoreError(error, filename)
  const text = `${filename}: its tables are not as they were made (${error.message}). Restore a backup.`
  return new StoreError('STORE_CORRUPT', text, { cause: error })
}

function isOfOtherLayout(error: unknown): error is Error {
  return sqliteCodeOf(error) === 'SQLITE_ERROR' && OTHER_LAYOUT.test((error as Error).message)
}

/** True while another connection holds the write lock, so that a retry helps. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCodeOf(error)
  return code !== null && (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED'))
}

/**
 * Explains why a file could not be opened, and what to do about it.
 *
 * @param isReadOnly true if it was opened for reading, which may still have to write beside it
 */
export function toOpenError(error: unknown, filename: string, isReadOnly = false): unknown {
  if (error instanceof StoreError) return error
  if (isOfOtherLayout(error)) return toLayoutError(error, filename)
  const code = sqliteCodeOf(error)
  const failure = code === null ? undefined : OPEN_FAILURES.find(({ prefix }) => code.startsWith(prefix))
  const reason = findPathProblem(error, { code, filename, isReadOnly }) ?? failure?.reason
  if (reason === undefined) return error
  return new StoreError('STORE_OPEN_FAILED', `Cannot open ${filename}: ${reason}`, { cause: error })
}

/**
 * Recognises a bad path: for a missing directory the driver throws its own TypeError; the error for a folder
 * depends on what is read first.
 */
function findPathProblem(
  error: unknown,
  { code, filename, isReadOnly }: { code: string | null; filename: string; isReadOnly: boolean },
): string | null {
  const isOfTheDisk = code?.startsWith('SQLITE_IOERR') === true
  const isOfThePath = error instanceof TypeError || /^SQLITE_(CANTOPEN|READONLY)/.test(code ?? '')
  if ((isOfThePath || isOfTheDisk) && isFolder(filename)) return 'it is a folder. Name a file in it.'
  if (!isOfThePath) return null
  return (isReadOnly ? findReadProblem(filename) : null) ?? findWriteProblem(filename)
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false // then the disk failed
  }
}

const FAILURES = [
  {
    prefix: 'SQLITE_BUSY',
    code: 'STORE_UNAVAILABLE',
    reason: 'another program holds its write lock. It goes on once that program lets go.',
  },
  {
    prefix: 'SQLITE_LOCKED',
    code: 'STORE_UNAVAILABLE',
    reason: 'another program holds its write lock. It goes on once that program lets go.',
  },
  { prefix: 'SQLITE_FULL', code: 'STORE_UNAVAILABLE', reason: 'the disk is full. Free some space.' },
  {
    prefix: 'SQLITE_READONLY',
    code: 'STORE_UNAVAILABLE',
    reason: 'the file cannot be written. Check its permissions, and that the disk is not read-only.',
  },
  {
    prefix: 'SQLITE_IOERR',
    code: 'STORE_UNAVAILABLE',
    reason: 'the disk reports an error. Check the disk and the system log.',
  },
  {
    prefix: 'SQLITE_CANTOPEN',
    code: 'STORE_UNAVAILABLE',
    reason: 'the file can no longer be opened. Check that it still exists.',
  },
  {
    prefix: 'SQLITE_CORRUPT',
    code: 'STORE_CORRUPT',
    reason: 'the database is damaged. Restore a backup.',
  },
  { prefix: 'SQLITE_NOTADB', code: 'STORE_CORRUPT', reason: 'the file is not a database. Restore a backup.' },
] as const

const OPEN_FAILURES = [
  {
    prefix: 'SQLITE_NOTADB',
    reason: 'it is not an SQLite database. Choose another file, or move this one away.',
  },
  { prefix: 'SQLITE_CORRUPT', reason: 'the database is damaged. Restore a backup.' },
  {
    prefix: 'SQLITE_CANTOPEN',
    reason: 'it does not exist, or this user may not open it. Check the path and its permissions.',
  },
  {
    prefix: 'SQLITE_READONLY',
    reason: 'it cannot be written. Check the permissions of the file and its directory.',
  },
  { prefix: 'SQLITE_BUSY', reason: 'another program holds its lock. Stop that program, or try again.' },
  { prefix: 'SQLITE_FULL', reason: 'the disk is full. Free some space.' },
  { prefix: 'SQLITE_IOERR', reason: 'the disk reports an error. Check the disk and the system log.' },
] as const

function sqliteCodeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : null
}
