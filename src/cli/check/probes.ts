import { createServer } from 'node:http'
import type { ServerConfig } from '../../config/server-config.ts'
import { StoreError } from '../../core/errors.ts'
import { type LogFields, type Logger, silentLogger } from '../../core/logger.ts'
import { listen } from '../../http/listen.ts'
import { readTlsPair } from '../../http/tls-files.ts'
import { openAuthProvider } from '../auth-provider.ts'
import { describeAuth, describeStore } from '../describe-config.ts'
import { openStoreForPlanning, storeExists } from '../open-store.ts'
import { formatQuantity } from '../output/format.ts'
import { describePlan, planStore } from '../prepare-store.ts'
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
  const note = ({ err }: LogFields, message: string) => {
    complaints.push(err instanceof Error ? `${message}: ${err.message}` : message)
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

/** Looks whether blobs could be stored where the configuration says. */
export async function probeBlobs({ blobs }: ServerConfig): Promise<Finding[]> {
  if (blobs === null) return []
  const problem = await findFolderProblem(blobs.directory)
  if (problem === null) return [ok('blobs', `${blobs.directory} can be written.`)]
  return [failure('blobs.directory', new StoreError('STORE_OPEN_FAILED', problem))]
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

/** Listens for a moment where the server would. */
export async function probePorts({ host, port, admin }: ServerConfig): Promise<Finding[]> {
  const findings = [await probePort('port', host, port)]
  if (admin.listener !== null) {
    findings.push(await probePort('admin.port', admin.listener.host, admin.listener.port))
  }
  return findings
}

async function probePort(subject: string, host: string, port: number): Promise<Finding> {
  if (port === 0) return ok(subject, 'any free one.')
  const server = createServer()
  try {
    await listen(server, port, host)
    return ok(subject, `${port} on ${host} is free.`)
  } catch (error) {
    return failure(subject, error)
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
}

/** "2 errors, 1 warning" */
export function summarize(findings: readonly Finding[]): string {
  const count = (severity: Finding['severity']) =>
    findings.filter((finding) => finding.severity === severity).length
  return `${formatQuantity(count('error'), 'error')}, ${formatQuantity(count('warning'), 'warning')}`
}
