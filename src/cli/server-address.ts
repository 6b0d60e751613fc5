import type { ServerConfig } from '../config/server-config.ts'
import { ConfigError } from '../core/errors.ts'
import { listenerOrigin } from '../http/listener-origin.ts'
import { tlsOfOperations } from '../http/tls-files.ts'

/** The address of a server, and how it proves its identity. */
export interface ServerAddress {
  readonly url: URL
  /** Contains the server's certificate, for whatever name it was issued; null: it is checked like that of any site. */
  readonly certFile: string | null
}

/**
 * The addresses of the server of a configuration, as seen from its own machine.
 *
 * @throws ConfigError `INVALID_ARGUMENT` when it has no port yet
 */
export function addressesOf({ host, port, tls, admin }: ServerConfig): {
  readonly health: ServerAddress
  readonly operations: ServerAddress
} {
  const health = addressOf(host, port, tls)
  const { listener } = admin
  if (listener === null) return { health, operations: health }
  const { host: ownHost, port: ownPort } = listener
  return { health, operations: addressOf(ownHost, ownPort, tlsOfOperations(tls, ownHost)) }
}

/**
 * The address of one listener, as seen from its own machine.
 *
 * @throws ConfigError `INVALID_ARGUMENT` for port 0
 */
export function addressOf(host: string, port: number, tls: ServerConfig['tls']): ServerAddress {
  if (port === 0) {
    throw new ConfigError('INVALID_ARGUMENT', 'Port 0 is any free port, so name the server with --url.')
  }
  return { url: new URL(listenerOrigin({ host, port }, tls !== null)), certFile: tls?.certFile ?? null }
}
