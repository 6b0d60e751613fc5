import { createServer } from 'node:http'
import type { ServerConfig } from '../../config/server-config.ts'
import { KoraServerError, StoreError } from '../../core/errors.ts'
import { type LogFields, type Logger, silentLogger } from '../../core/logger.ts'
import { type ListenPlace, listen } from '../../http/listen.ts'
import { requireNoFile } from '../../http/static-files.ts'
import { storeMarkOf } from '../../http/store-mark.ts'
import { readTlsPair, tlsOfOperations } from '../../http/tls-files.ts'
import { blobFolders } from '../../store/blobs/filesystem-blob-store.ts'
import { askHttp } from '../ask-http.ts'
import { openAuthProvider } from '../auth-provider.ts'
import { describeAuth, describeStore } from '../describe-config.ts'
import { ADMIN_PORT_OPTION, PUBLIC_PORT_OPTION } from '../host-options.ts'
import { openStoreForPlanning, storeExists } from '../open-store.ts'
import { formatQuantity } from '../output/format.ts'
import { describePlan, planStore } from '../prepare-store.ts'
import { addressOf } from '../server-address.ts'
import { type Finding, failure, ok, warning } from './finding.ts'
import { findFolderProblem } from './folder-probe.ts'

/** Opens the store, without changing it, and says what `start` would have to do there. */
export async function probeStore(config: ServerConfig, cwd: string): Promise<Finding[]> {
  const name = describeStore(config.store, cwd)
  if (config.store.driver === 'memory') return [ok('store', `${name}.`)]
  try {
    const store = await openStoreForPlanning(config)
    try {
      if (!storeExists(config.store)) return [ok('store', `${name} does not exist yet; start creates it.`)]
      const schema = config.schema?.definition ?? null
      const plan = await planStore(store, { schema, auth: config.auth })
      if (plan.isUpToDate && schema !== null) return [ok('store', `${name} is what the schema asks for.`)]
      const opens = ok('store', `${name} opens.`)
      if (plan.isUpToDate) return [opens]
      const pending = `Pending, done by the next start or by migrate:\n${describePlan(plan).join('\n')}`
      return [opens, warning('schema', pending)]
    } finally {
      await store.close()
    }
  } catch (error) {
    return [failure('store', error)]
  }
}

/** Parses the keys; a JWKS is fetched once. */
export async function probeAuth(config: ServerConfig): Promise<Finding[]> {
  const complaints: string[] = []
  const note = (fields: LogFields, message: string) => {
    complaints.push(describeLogLine(fields, message))
  }
  const listening: Logger = { ...silentLogger, warn: note, error: note, child: () => listening }
  try {
    await openAuthProvider(config.auth, listening)
  } catch (error) {
    return [failure('auth', error)]
  }
  if (complaints.length === 0) return [ok('auth', `${describeAuth(config.auth)}.`)]
  return complaints.map((complaint) => warning('auth', complaint))
}

/** A line of the log as a sentence, with where and why it came to that. */
function describeLogLine({ url, reason, err }: LogFields, message: string): string {
  const where = url === undefined ? '' : ` from ${url}`
  const why = err instanceof Error ? err.message : reason
  return `${message}${where}${why === undefined ? '' : `: ${why}`}`
}

/** Looks whether blobs could be stored where the configuration says. */
export async function probeBlobs({ blobs }: ServerConfig): Promise<Finding[]> {
  if (blobs === null) return []
  for (const folder of [blobs.directory, ...blobFolders(blobs.directory)]) {
    const problem = await findFolderProblem(folder)
    if (problem !== null) return [failure('blobs.directory', new StoreError('STORE_OPEN_FAILED', problem))]
  }
  return [ok('blobs', `${blobs.directory} can be written.`)]
}

/**
 * Fails where the folder of static files is a file. That it may be missing is a warning, among the others.
 */
export function probeStaticFiles({ http: { staticDir } }: Pick<ServerConfig, 'http'>): Finding[] {
  try {
    if (staticDir !== null) requireNoFile(staticDir)
    return []
  } catch (error) {
    return [failure('http.staticDir', error)]
  }
}

/** Reads the certificate and the key as the server would. */
export function probeTls({ tls }: ServerConfig): Finding[] {
  if (tls === null) return []
  try {
    readTlsPair(tls)
    return [ok('tls', 'certificate and key belong together.')]
  } catch (error) {
    return [failure('tls', error)]
  }
}

/** Listens for a moment where the server would. Where it does so already, with the same store, that is fine. */
export async function probePorts(config: ServerConfig): Promise<Finding[]> {
  const { host, port, tls, admin, http } = config
  const findStoreMark = () => markOf(config)
  const shared = { host, port, portOption: PUBLIC_PORT_OPTION, findStoreMark }
  const findings = [await probePort('port', { ...shared, tls, servesHealth: http.health })]
  if (admin.listener !== null) {
    const ownTls = tlsOfOperations(tls, admin.listener.host)
    const own = { ...admin.listener, portOption: ADMIN_PORT_OPTION, findStoreMark }
    findings.push(await probePort('admin.port', { ...own, tls: ownTls, servesHealth: true }))
  }
  return findings
}

interface Place extends ListenPlace, Pick<ServerConfig, 'tls'> {
  readonly portOption: string
  readonly servesHealth: boolean
  /** @returns null when it is not known */
  readonly findStoreMark: () => Promise<string | null>
}

/** @returns null where the store cannot be opened, or lives in another process */
async function markOf(config: ServerConfig): Promise<string | null> {
  if (config.store.driver === 'memory') return null
  try {
    const store = await openStoreForPlanning(config)
    try {
      return storeMarkOf(store)
    } finally {
      await store.close()
    }
  } catch {
    return null // probeStore says why
  }
}

async function probePort(subject: string, place: Place): Promise<Finding> {
  const { host, port } = place
  if (port === 0) return ok(subject, 'any free one.')
  const server = createServer()
  try {
    await listen(server, place)
    return ok(subject, `${port} on ${host} is free.`)
  } catch (error) {
    const isTaken = error instanceof KoraServerError && error.code === 'PORT_IN_USE'
    return isTaken ? judgeHolder(subject, place, error) : failure(subject, error)
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
}

/** Says what it means that somebody has a port. */
async function judgeHolder(subject: string, place: Place, error: KoraServerError): Promise<Finding> {
  const finding = failure(subject, error)
  const holder = await findKoraServer(place)
  if (holder === null) {
    if (place.servesHealth) return finding
    return {
      ...finding,
      message: `${finding.message} A server whose http.health is off cannot be told from others.`,
    }
  }
  const isRunning = `${place.port} on ${place.host}: a kora-server is running there.`
  const own = await place.findStoreMark()
  if (holder.store === null || own === null) {
    const remedy = `stop it, or choose another port with ${place.portOption}`
    return warning(subject, `${isRunning} Whether it has this store is not known: if not, ${remedy}.`)
  }
  if (holder.store === own) return ok(subject, isRunning)
  return { ...finding, message: `${finding.message} A kora-server with another store has it.` }
}

// It answers this from memory: one that takes longer is no server that runs.
const HEALTH_TIMEOUT_MS = 3000

/**
 * Asks whoever holds a port. The server may have been started before it was configured to serve TLS.
 *
 * @returns null when it is no kora-server; `store` is null of a release that does not tell
 */
async function findKoraServer({ host, port, tls }: Place): Promise<{ readonly store: string | null } | null> {
  for (const present of tls === null ? [null] : [tls, null]) {
    const question = { path: '/health', timeoutMs: HEALTH_TIMEOUT_MS }
    const answer = await askHttp(addressOf(host, port, present), question)
    if (typeof answer === 'string' || answer.code !== 200) continue
    const { status, uptimeSeconds, store } = answer.body
    if (status !== 'ok' || typeof uptimeSeconds !== 'number') continue
    return { store: typeof store === 'string' ? store : null }
  }
  return null
}

/** "2 errors, 1 warning" */
export function summarize(findings: readonly Finding[]): string {
  const count = (severity: Finding['severity']) =>
    findings.filter((finding) => finding.severity === severity).length
  return `${formatQuantity(count('error'), 'error')}, ${formatQuantity(count('warning'), 'warning')}`
}
