import pg from 'pg'
import { KoraServerError, StoreCapacityError, StoreError } from '../../core/errors.ts'

/** Turns a database error into one for the caller; any other error is returned as it is. */
export function toStoreError(error: unknown, name: string): unknown {
  if (error instanceof KoraServerError) return error
  const failure = failureOf(error)
  if (failure === null) return error
  const message = `${name}: ${failure.reason}`
  if (sqlStateOf(error) === OUT_OF_MEMORY)
    return new StoreCapacityError(failure.code, message, { cause: error })
  return new StoreError(failure.code, message, { cause: error })
}

/** SQLSTATE of a database that is out of memory: its own, or that shared by all transactions, mainly for locks. */
const OUT_OF_MEMORY = '53200'

const REFUSED_WRITE = '25006'

const MISSING_RIGHT = '42501'

/** A table, or a column, does not exist. */
const MISSING_TABLE: readonly (string | null)[] = ['42P01', '42703']

const LOCK_TIMEOUT = '55P03'

/** True when the transaction lost against another one, and may be repeated as it is. */
export function isTransient(error: unknown): boolean {
  const code = sqlStateOf(error)
  return code === '40001' || code === '40P01' || code === '23505'
}

/** True when a lock was held for longer than a statement may wait for it. */
export function isLockTimeout(error: unknown): boolean {
  return sqlStateOf(error instanceof KoraServerError ? error.cause : error) === LOCK_TIMEOUT
}

/** True when the database could not read a file, which may be missing. */
export function isDiskError(error: unknown): boolean {
  return sqlStateOf(error instanceof KoraServerError ? error.cause : error)?.startsWith('58') === true
}

/** True when the host accepts no writes, like a primary that has become a replica. */
export function isRefusedWrite(error: unknown): boolean {
  return sqlStateOf(error) === REFUSED_WRITE
}

/** True when a connection failed without any answer; a refusal counts as an answer. */
export function isUnanswered(error: unknown): boolean {
  if (['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH'].includes(systemCodeOf(error) ?? '')) return true
  return (
    error instanceof Error &&
    /^(timeout e|Connection terminated due to connection timeout)/.test(error.message)
  )
}

/** True for the error by which a statement prevents its commit. @see plan-writer.ts */
export function isDivisionByZero(error: unknown): boolean {
  return sqlStateOf(error) === '22012'
}

/** Why the database could not be opened, and what to do about it. */
export function toOpenError(failure: unknown, name: string): unknown {
  // To a statement it is unavailability, while here it is the reason.
  const isOurs = failure instanceof KoraServerError
  const error = isOurs && failure.code === 'STORE_UNAVAILABLE' ? failure.cause : failure
  if (error instanceof KoraServerError) return error
  const code = sqlStateOf(error) ?? systemCodeOf(error)
  const reason =
    OPEN_FAILURES.find(({ prefix }) => code?.startsWith(prefix))?.reason ??
    (isUnanswered(error) ? NO_ANSWER : isHungUp(error) ? HUNG_UP : undefined) ??
    passwordReasonOf(error) ??
    socketReasonOf(error) ??
    failureOf(error)?.reason ??
    certificateReasonOf(error)
  return reason === undefined ? error : openFailure(name, reason, error)
}

/** @param reason one or two sentences: what is wrong with the database, and what to do */
export function openFailure(name: string, reason: string, cause?: unknown): StoreError {
  return new StoreError('STORE_OPEN_FAILED', `Cannot open ${name}: ${reason}`, { cause })
}

/** The driver has no code for failures of the password exchange. */
function passwordReasonOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !error.message.startsWith('SASL: ')) return undefined
  if (/client password must be/.test(error.message)) {
    return 'it asks for a password, and there is none. Add it to the connection string, or set PGPASSWORD.'
  }
  return `user name and password could not be proved (${error.message}). Check the connection string.`
}

/** The operating system's reason for a Unix socket that nothing listens on, which is the same for a plain file. */
function socketReasonOf(error: unknown): string | undefined {
  const { code, address } = (error ?? {}) as { code?: unknown; address?: unknown }
  if (!isOfConnecting(error)) return undefined
  if (code === 'ENOENT') {
    return `there is no socket ${String(address)}. Start PostgreSQL, or correct host and port: the host is the folder of the socket.`
  }
  return code === 'EACCES' ? `this user may not use the socket ${String(address)}.` : undefined
}

/** Codes of OpenSSL and of Node for a certificate that is not trusted: nothing was sent. */
const CERTIFICATE_CODES = /CERT|SIGNATURE|ISSUER|^ERR_(TLS|SSL|OSSL)/

function certificateReasonOf(error: unknown): string | undefined {
  const { code, path, message } = (error ?? {}) as { code?: unknown; path?: unknown; message?: unknown }
  if (code === 'ENOENT' || code === 'EACCES') {
    return `a file that the connection string names cannot be read: ${String(path)}.`
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return 'its certificate is for another name. Connect by the name that stands in it.'
  }
  if (typeof code !== 'string' || !CERTIFICATE_CODES.test(code)) return undefined
  return `its certificate is not trusted (${String(message)}). Name the authority that issued it: sslrootcert=<file>.`
}

interface Failure {
  readonly code: 'STORE_UNAVAILABLE' | 'STORE_CORRUPT'
  readonly reason: string
}

/** By the beginning of the SQLSTATE, longer ones first. */
const FAILURES: readonly (Failure & { readonly prefix: string })[] = [
  { prefix: '53100', code: 'STORE_UNAVAILABLE', reason: "the database's disk is full. Free some space." },
  {
    prefix: '53300',
    code: 'STORE_UNAVAILABLE',
    reason: 'it has no connection left. Raise max_connections, or lower store.poolSize.',
  },
  {
    prefix: OUT_OF_MEMORY,
    code: 'STORE_UNAVAILABLE',
    reason: 'it has no memory left. See its log, and raise max_locks_per_transaction if that says so.',
  },
  { prefix: '53', code: 'STORE_UNAVAILABLE', reason: 'it has run out of a resource. See its log.' },
  {
    prefix: LOCK_TIMEOUT,
    code: 'STORE_UNAVAILABLE',
    reason: 'another session holds a lock on the tables. It goes on once that session lets go.',
  },
  {
    prefix: '57014',
    code: 'STORE_UNAVAILABLE',
    reason:
      'a statement took longer than allowed and was cancelled. See the locks and the load of the database.',
  },
  {
    prefix: '57P',
    code: 'STORE_UNAVAILABLE',
    reason: 'it is shutting down or starting. It goes on once it is up.',
  },
  {
    prefix: REFUSED_WRITE,
    code: 'STORE_UNAVAILABLE',
    reason: 'it takes no writes: a replica, or set to read only. Connect to the primary.',
  },
  {
    prefix: '25P03',
    code: 'STORE_UNAVAILABLE',
    reason: 'it gave up a transaction that heard nothing of this process for too long. See what stalls it.',
  },
  {
    prefix: '25P04',
    code: 'STORE_UNAVAILABLE',
    reason:
      'it gave up a transaction that took longer than transaction_timeout. Raise that for the role, or see the locks and the load of the database.',
  },
  { prefix: '08', code: 'STORE_UNAVAILABLE', reason: 'the connection was lost.' },
  { prefix: '58', code: 'STORE_UNAVAILABLE', reason: 'its disk reports an error. See its log.' },
  { prefix: '40', code: 'STORE_UNAVAILABLE', reason: 'other writers kept being first. Send again.' },
  {
    prefix: 'XX00',
    code: 'STORE_CORRUPT',
    reason: 'it reports damaged data. See its log, and restore a backup.',
  },
]

const UNKNOWN_HOST =
  'the host name does not resolve. Correct the connection string, or see to the name servers.'
const NO_ANSWER =
  'nothing answered in time. Correct host and port, or let the firewalls between pass connections to it.'
const HUNG_UP =
  'what listens there ended the connection. See whether it is PostgreSQL, and what its log says.'

const OPEN_FAILURES = [
  { prefix: '28P01', reason: 'user name or password is wrong. Check the connection string.' },
  {
    prefix: '28',
    reason: 'it does not let this role in from here. Check the connection string and pg_hba.conf.',
  },
  { prefix: '3D000', reason: 'the database does not exist. Create it, or correct the connection string.' },
  {
    prefix: REFUSED_WRITE,
    reason: 'it takes no writes: a replica, or set to read only. Connect to the primary.',
  },
  { prefix: 'ECONNREFUSED', reason: 'nothing listens there. Start PostgreSQL, or correct host and port.' },
  { prefix: 'ENOTFOUND', reason: UNKNOWN_HOST },
  { prefix: 'EAI_AGAIN', reason: UNKNOWN_HOST },
  { prefix: '57P03', reason: 'it is starting or stopping. Start again once it is up.' },
] as const

function failureOf(error: unknown): Failure | null {
  const state = sqlStateOf(error)
  if (state === MISSING_RIGHT) {
    // Only the text says on which object.
    const reason = `the role lacks a right (${(error as Error).message}). Grant it, or make it the owner.`
    return { code: 'STORE_UNAVAILABLE', reason }
  }
  if (MISSING_TABLE.includes(state)) {
    const reason = `a table is not as it was made (${(error as Error).message}). See "kora-server check --deep".`
    return { code: 'STORE_CORRUPT', reason }
  }
  if (state !== null) return FAILURES.find(({ prefix }) => state.startsWith(prefix)) ?? null
  if (systemCodeOf(error) !== null || isLostConnection(error)) {
    return { code: 'STORE_UNAVAILABLE', reason: `no connection (${(error as Error).message || 'refused'}).` }
  }
  return null
}

function sqlStateOf(error: unknown): string | null {
  return error instanceof pg.DatabaseError ? (error.code ?? null) : null
}

const SYSTEM_CODES = /^E(CONN|PIPE|TIMEDOUT|HOST|NET|NOTFOUND|AI_AGAIN|ADDR)/

function systemCodeOf(error: unknown): string | null {
  const { code, errors } = (error ?? {}) as { code?: unknown; errors?: unknown }
  // A name may have several addresses, all of which have failed.
  if (Array.isArray(errors) && errors.length > 0) return systemCodeOf(errors[0])
  if (typeof code !== 'string') return null
  return SYSTEM_CODES.test(code) || isOfConnecting(error) ? code : null
}

function isOfConnecting(error: unknown): boolean {
  return ((error ?? {}) as { syscall?: unknown }).syscall === 'connect'
}

function isHungUp(error: unknown): boolean {
  return error instanceof Error && /^Connection (terminated unexpectedly|ended)/.test(error.message)
}

/** Errors for which the driver has no code. */
const LOST =
  /^(Connection terminated|timeout e|Query read timeout|Client has encountered|Client was closed|The server does not support SSL|Connection ended)/

/** True for the driver's errors about a connection that is lost, or was never made. */
export function isLostConnection(error: unknown): boolean {
  return error instanceof Error && LOST.test(error.message)
}
