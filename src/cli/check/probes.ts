import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createSecureContext } from 'node:tls'
import type { ServerConfig } from '../../config/server-config.ts'
import { ConfigError, KoraServerError } from '../../core/errors.ts'
import { type LogFields, type Logger, silentLogger } from '../../core/logger.ts'
import { openAuthProvider } from '../auth-provider.ts'
import { describeAuth, describeStore } from '../describe-config.ts'
import { openStoreForPlanning, storeExists } from '../open-store.ts'
import { formatQuantity } from '../output/format.ts'
import { type Finding, failure, ok, warning } from './finding.ts'

/** Opens the store, without changing it, and says what `start` would have to do there. */
export async function probeStore(config: ServerConfig, cwd: string): Promise<Finding[]> {
  const name = describeStore(config.store, cwd)
  if (config.store.driver === 'memory') return [ok('store', `${name}.`)]
  try {
    const store = await openStoreForPlanning(config)
    try {
      if (!storeExists(config.store)) return [ok('store', `${name} does not exist yet; start creates it.`)]
      if (config.schema === null) return [ok('store', `${name} opens.`)]
      const plan = await store.planSchema(config.schema.definition)
      if (plan.isUpToDate) return [ok('store', `${name} is what the schema asks for.`)]
      const changes = plan.changes.map(({ collection, change }) => `${collection}: ${change}`)
      return [
        ok('store', `${name} opens.`),
        warning('schema', `Pending, done by the next start or by migrate:\n${changes.join('\n')}`),
      ]
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

/** Listens for a moment where the server would. */
export async function probePort({ host, port }: ServerConfig): Promise<Finding[]> {
  if (port === 0) return [ok('port', 'any free one.')]
  const server = createServer()
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, exclusive: true }, resolve)
    })
    return [ok('port', `${host}:${port} is free.`)]
  } catch (error) {
    return [failure('port', listenError(error as NodeJS.ErrnoException, host, port))]
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === 'EADDRINUSE') {
    return new KoraServerError(
      'PORT_IN_USE',
      `${host}:${port} is taken, perhaps by a kora-server that is running. Stop it, or choose another port.`,
    )
  }
  if (error.code === 'EACCES') {
    return new KoraServerError('LISTEN_FAILED', `${host}:${port} needs more rights. Choose a port from 1024.`)
  }
  return new KoraServerError('LISTEN_FAILED', `${host}:${port} cannot be listened on (${error.code}).`)
}

/** Reads certificate and key as the listener would. */
export function probeTls({ tls }: ServerConfig): Finding[] {
  if (tls === null) return []
  try {
    createSecureContext({ cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) })
    return [ok('tls', `${tls.certFile} and its key load.`)]
  } catch (error) {
    return [
      failure(
        'tls',
        new ConfigError(
          'CONFIG_INVALID',
          `The certificate or its key does not load: ${(error as Error).message}`,
        ),
      ),
    ]
  }
}

/** "2 errors, 1 warning" */
export function summarize(findings: readonly Finding[]): string {
  const count = (severity: Finding['severity']) =>
    findings.filter((finding) => finding.severity === severity).length
  return `${formatQuantity(count('error'), 'error')}, ${formatQuantity(count('warning'), 'warning')}`
}
