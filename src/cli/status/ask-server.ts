import { OPERATIONS_PREFIX } from '../../http/own-paths.ts'
import { askHttp, CONNECTION_REFUSED, type HttpAnswer } from '../ask-http.ts'
import type { ServerAddress } from '../server-address.ts'

const TIMEOUT_MS = 10_000
const REFUSALS = [401, 403, 429] // wrong, of no use there, or after too many wrong ones

export interface ServerQuestion {
  /** The addresses of the operations endpoints, and of /health and /ready. */
  readonly servers: { readonly operations: ServerAddress; readonly health: ServerAddress }
  readonly token: string | null
  readonly asksOnlyReady: boolean
}

export interface ServerAnswer {
  /** False when nothing, or another program, answered. */
  readonly isReached: boolean
  /** False when nothing listens at the address. */
  readonly isListening: boolean
  readonly isHealthy: boolean
  /** True when it was asked with a token that is not taken. */
  readonly isTokenRefused: boolean
  /** Why it is not healthy. */
  readonly problem: string | null
  /** The content of the server's answer. */
  readonly details: { readonly [name: string]: unknown }
  /** Further remarks for the user. */
  readonly notes: readonly string[]
}

/** Asks a running server for its status or, where that is closed, only for /health and /ready. */
export async function askStatus(question: ServerQuestion): Promise<ServerAnswer> {
  const { servers, token, asksOnlyReady } = question
  if (asksOnlyReady) return askReady(servers.health)
  const status = await askHttp(servers.operations, {
    path: `${OPERATIONS_PREFIX}/status`,
    token,
    timeoutMs: TIMEOUT_MS,
  })
  if (typeof status === 'string') return unreached(servers.operations, status)
  if (status.code === 200) return fromStatus(servers.operations, status.body)
  const ready = await askReady(servers.health)
  if (!ready.isReached) return ready
  const reason = whyNotGiven(status, token)
  return {
    ...ready,
    isTokenRefused: token !== null && REFUSALS.includes(status.code),
    notes: [`Only the health is shown, because the server did not give its status: ${reason}`],
  }
}

/** What the server says, except how a program sends a token: a command has its own way. */
function whyNotGiven({ code, body }: HttpAnswer, token: string | null): string {
  const reason = typeof body.error === 'string' ? body.error : `It answered ${code}.`
  if (code !== 401) return reason
  return `${token === null ? 'It asks for a token.' : reason} ${TOKEN_ADVICE}`
}

const TOKEN_ADVICE = 'Give the admin token of the server with --token, or in KORA_ADMIN_TOKEN.'

async function askReady(server: ServerAddress): Promise<ServerAnswer> {
  const ready = await askHttp(server, { path: '/ready', timeoutMs: TIMEOUT_MS })
  if (typeof ready === 'string') return unreached(server, ready)
  const isHealthy = ready.code === 200
  if (isHealthy && ready.body.status !== 'ready') return somethingElse(server, '/ready')
  return {
    isReached: true,
    isListening: true,
    isHealthy,
    isTokenRefused: false,
    problem: isHealthy ? null : `Not ready: ${reasonOf(ready)}`,
    details: ready.body,
    notes: [],
  }
}

function fromStatus(server: ServerAddress, details: ServerAnswer['details']): ServerAnswer {
  if (!isStatus(details)) return somethingElse(server, '/__kora/status')
  const isHealthy = details.ready === true && details.running !== false
  const reason = typeof details.reason === 'string' ? details.reason : 'it does not say why.'
  return {
    isReached: true,
    isListening: true,
    isHealthy,
    isTokenRefused: false,
    problem: isHealthy ? null : `Not ready: ${reason}`,
    details,
    notes: [],
  }
}

/** Checks the fields that every release has sent. A server whose store does not answer sends little more. */
function isStatus({ ready, connectedClients, uptime }: ServerAnswer['details']): boolean {
  return (
    ready === false || (ready === true && typeof connectedClients === 'number' && typeof uptime === 'number')
  )
}

function reasonOf({ code, body }: HttpAnswer): string {
  if (typeof body.reason === 'string') return body.reason
  return code === 404 ? '/ready is not served there (http.health is off?).' : `/ready answered ${code}.`
}

function unreached({ url }: ServerAddress, reason: string): ServerAnswer {
  const answer = notThere(`No server answers at ${url.origin}: ${reason}`)
  return { ...answer, isListening: reason !== CONNECTION_REFUSED }
}

/** The answer where another program listens: one that serves a page at every path answers 200 to anything. */
function somethingElse({ url }: ServerAddress, path: string): ServerAnswer {
  return notThere(
    `Something other than kora-server answers at ${url.origin}: what it gives at ${path} is not what kora-server does.`,
  )
}

function notThere(problem: string): ServerAnswer {
  return {
    isReached: false,
    isListening: true,
    isHealthy: false,
    isTokenRefused: false,
    problem,
    details: { ready: false, reason: problem },
    notes: [],
  }
}
