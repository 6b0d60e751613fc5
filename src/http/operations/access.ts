import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyReply } from 'fastify'
import { isLoopback } from '../../core/loopback.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { ServerStore } from '../../store/store.ts'
import { authorizeOperator, type OperatorAccess, type OperatorArea } from '../../sync/authorization.ts'
import { bearerToken } from '../bearer-token.ts'
import { type AddressOf, socketAddress } from '../client-address.ts'
import { GuessLimit } from './guess-limit.ts'

/** Tokens of the operations endpoints, each sent as `Authorization: Bearer …`. An empty token counts as none. */
export interface OperationalAuth {
  /** Opens the dashboard, and everything that has no token of its own. */
  readonly adminToken?: string | undefined
  /** Opens the metrics, in place of `adminToken`. Default: `adminToken`. */
  readonly metricsToken?: string | undefined
  /** Opens backup and restore, in place of `adminToken`. Default: `adminToken`. */
  readonly backupToken?: string | undefined
}

export interface AccessOptions {
  readonly auth: OperationalAuth
  /** The store that the tokens open. */
  readonly store: ServerStore
  /** The host that the endpoints listen at. */
  readonly host: string
  readonly addressOf: AddressOf
  readonly runtime: Runtime
}

export interface AccessRefusal {
  readonly status: 401 | 403 | 429
  readonly error: string
  readonly headers?: { readonly [name: string]: string }
}

/**
 * Decides which requests may use the operations endpoints: those with the token. Without any token configured, the
 * endpoints are open to this machine if the listener is on loopback, and closed otherwise. Backups always need a
 * token, because a proxy that hides itself cannot be told from a program of this machine.
 */
export class OperationsAccess {
  readonly #options: AccessOptions
  readonly #digests: { readonly [area in OperatorArea]: Buffer | null }
  readonly #guesses: GuessLimit

  constructor(options: AccessOptions) {
    this.#options = options
    this.#guesses = new GuessLimit(options.runtime)
    const { adminToken, metricsToken, backupToken } = options.auth
    this.#digests = {
      admin: digestOrNull(adminToken),
      metrics: digestOrNull(metricsToken || adminToken),
      backup: digestOrNull(backupToken || adminToken),
    }
  }

  /** @returns the access to the store, or why the request is refused */
  admit<Area extends OperatorArea>(
    request: IncomingMessage,
    area: Area,
  ): OperatorAccess<Area> | AccessRefusal {
    return this.#refuse(request, area) ?? authorizeOperator(area, this.#options.store)
  }

  #refuse(request: IncomingMessage, area: OperatorArea): AccessRefusal | null {
    const expected = this.#digests[area]
    if (expected === null) return this.#refuseWithoutToken(request, area)
    const address = this.#options.addressOf(request)
    const blockedMs = this.#guesses.blockedMs(address)
    if (blockedMs > 0) {
      const headers = { 'retry-after': String(Math.ceil(blockedMs / 1000)) }
      return { status: 429, error: 'Too many wrong tokens from this address. Try again later.', headers }
    }
    const token = bearerToken(request)
    if (token === null) return unauthorized('Send the token as "Authorization: Bearer <token>".')
    // Digests are of equal length, so the comparison does not reveal where two tokens differ.
    if (timingSafeEqual(digest(token), expected)) return null
    this.#guesses.count(address)
    return unauthorized('This token does not open this endpoint.')
  }

  #refuseWithoutToken(request: IncomingMessage, area: OperatorArea): AccessRefusal | null {
    const mayBeOpen = area !== 'backup' && Object.values(this.#digests).every((known) => known === null)
    if (mayBeOpen && isLoopback(this.#options.host) && isFromThisMachine(request)) return null
    const option = area === 'admin' ? 'adminToken' : `adminToken or ${area}Token`
    const variable =
      area === 'admin' ? 'KORA_ADMIN_TOKEN' : `KORA_ADMIN_TOKEN or KORA_${area.toUpperCase()}_TOKEN`
    const remedy =
      `Set admin.${option.replace(' or ', ' or admin.')} in the configuration, or ${variable} in the environment ` +
      `(as a library: operationalAuth.${option.replace(' or ', ' or operationalAuth.')})`
    const other = mayBeOpen ? ', or listen on 127.0.0.1 only and ask from this machine, through no proxy' : ''
    return {
      status: 403,
      error: `This endpoint is closed: no token is configured for it. ${remedy}${other}.`,
    }
  }
}

/**
 * True where the dashboard and the status can be opened at this host: with their token or, where there is none at
 * all, from this machine.
 */
export function opensDashboard(
  { adminToken, metricsToken, backupToken }: OperationalAuth,
  host: string,
): boolean {
  if (adminToken) return true
  return !metricsToken && !backupToken && isLoopback(host)
}

/** Answers a request that was refused. */
export function sendRefusal(
  reply: FastifyReply,
  { status, headers = {}, error }: AccessRefusal,
): FastifyReply {
  return reply.code(status).headers(headers).send({ error })
}

/**
 * True for a request by a program on this machine, but not by a page in its browser or through a proxy: those carry
 * requests of others, so that a listener on loopback proves nothing about the sender.
 */
function isFromThisMachine(request: IncomingMessage): boolean {
  const { headers } = request
  if (!isLoopback(socketAddress(request))) return false
  if (isFromProxy(request)) return false
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false
  if (headers.origin !== undefined && !isLoopbackOrigin(headers.origin)) return false
  return isLoopback(hostName(headers.host ?? ''))
}

const PROXY_HEADERS = [
  'forwarded',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
]

/**
 * True where the request shows signs of a proxy. nginx adds no header by itself and names this machine as the host;
 * but it uses HTTP/1.0 or, configured for WebSockets, asks to upgrade every connection.
 */
function isFromProxy({ headers, httpVersion }: IncomingMessage): boolean {
  if (httpVersion === '1.0') return true
  if (headers.connection?.toLowerCase().includes('upgrade')) return true
  return PROXY_HEADERS.some((name) => headers[name] !== undefined)
}

/** The host in a Host header, which may have any content. */
function hostName(host: string): string {
  return host.replace(/:\d{1,5}$/, '')
}

function isLoopbackOrigin(origin: string): boolean {
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname)
}

function unauthorized(error: string): AccessRefusal {
  return { status: 401, error, headers: { 'www-authenticate': 'Bearer realm="kora-server"' } }
}

function digestOrNull(token: string | undefined): Buffer | null {
  return token ? digest(token) : null
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
