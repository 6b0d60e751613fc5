import { OPERATIONS_PREFIX } from '../../http/own-paths.ts'
import { askHttp, type HttpAnswer } from '../ask-http.ts'
import type { ServerAddress } from '../server-address.ts'

const TIMEOUT_MS = 10_000

export interface ServerQuestion {
  /** Where the operations endpoints are, and where /health and /ready. */
  readonly servers: { readonly operations: ServerAddress; readonly health: ServerAddress }
  readonly token: string | null
  readonly asksOnlyReady: boolean
}

export interface ServerAnswer {
  /** False when nothing answered. */
  readonly isReached: boolean
  readonly isHealthy: boolean
  /** Why it is not healthy. */
  readonly problem: string | null
  /** What the server said. */
  readonly details: { readonly [name: string]: unknown }
  /** What else whoever asked should know. */
  readonly notes: readonly string[]
}

/** Asks a running server for its status, or, where that is closed, only for /health and /ready. */
export async function askStatus(question: ServerQuestion): Promise<ServerAnswer> {
  const { servers, token, asksOnlyReady } = question
  if (asksOnlyReady) return askReady(servers.health)
  const status = await askHttp(servers.operations, {
    path: `${OPERATIONS_PREFIX}/status`,
    token,
    timeoutMs: TIMEOUT_MS,
  })
  if (typeof status === 'string') return unreached(servers.operations, status)
  if (status.code === 200) return fromStatus(status.body)
  const ready = await askReady(servers.health)
  if (!ready.isReached) return ready
  const error = status.body.error
  const reason = typeof error === 'string' ? error : `It answered ${status.code}.`
  return { ...ready, notes: [`Only health is shown, the status was not given: ${reason}`] }
}

async function askReady(server: ServerAddress): Promise<ServerAnswer> {
  const ready = await askHttp(server, { path: '/ready', timeoutMs: TIMEOUT_MS })
  if (typeof ready === 'string') return unreached(server, ready)
  const isHealthy = ready.code === 200
  return {
    isReached: true,
    isHealthy,
    problem: isHealthy ? null : `Not ready: ${reasonOf(ready)}`,
    details: ready.body,
    notes: [],
  }
}

function fromStatus(details: ServerAnswer['details']): ServerAnswer {
  const isHealthy = details.ready !== false && details.running !== false
  const reason = typeof details.reason === 'string' ? details.reason : 'it does not say why.'
  return {
    isReached: true,
    isHealthy,
    problem: isHealthy ? null : `Not ready: ${reason}`,
    details,
    notes: [],
  }
}

function reasonOf({ code, body }: HttpAnswer): string {
  if (typeof body.reason === 'string') return body.reason
  return code === 404 ? '/ready is not served there (http.health is off?).' : `/ready answered ${code}.`
}

function unreached({ url }: ServerAddress, reason: string): ServerAnswer {
  const problem = `No server answers at ${url.origin}: ${reason}`
  return {
    isReached: false,
    isHealthy: false,
    problem,
    details: { ready: false, reason: problem },
    notes: [],
  }
}
