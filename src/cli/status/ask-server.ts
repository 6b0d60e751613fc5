const TIMEOUT_MS = 10_000

export interface ServerQuestion {
  /** Where the operations endpoints are, and where /health and /ready. */
  readonly urls: { readonly operations: URL; readonly health: URL }
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
  const { urls, token, asksOnlyReady } = question
  if (asksOnlyReady) return askReady(urls.health)
  const status = await ask(new URL('/__kora/status', urls.operations), token)
  if (typeof status === 'string') return unreached(urls.operations, status)
  if (status.code === 200) return fromStatus(status.body)
  const ready = await askReady(urls.health)
  if (!ready.isReached) return ready
  const error = status.body.error
  const reason = typeof error === 'string' ? error : `It answered ${status.code}.`
  return { ...ready, notes: [`Only health is shown, the status was not given: ${reason}`] }
}

async function askReady(base: URL): Promise<ServerAnswer> {
  const ready = await ask(new URL('/ready', base), null)
  if (typeof ready === 'string') return unreached(base, ready)
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

function unreached(url: URL, reason: string): ServerAnswer {
  const problem = `No server answers at ${url.origin}: ${reason}`
  return {
    isReached: false,
    isHealthy: false,
    problem,
    details: { ready: false, reason: problem },
    notes: [],
  }
}

interface HttpAnswer {
  readonly code: number
  readonly body: { readonly [name: string]: unknown }
}

/** @returns what went wrong, where nothing answered */
async function ask(url: URL, token: string | null): Promise<HttpAnswer | string> {
  try {
    const response = await fetch(url, {
      redirect: 'error', // the token is for this server
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
    })
    const body: unknown = await response.json().catch(() => ({}))
    return { code: response.status, body: typeof body === 'object' && body !== null ? { ...body } : {} }
  } catch (error) {
    return describeFailure(error)
  }
}

function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `it did not answer within ${TIMEOUT_MS / 1000} s.`
  const cause = error.cause as { code?: string; message?: string } | undefined // what fetch puts there
  if (cause?.code === 'ECONNREFUSED') return 'the connection was refused. Is it running?'
  return `${cause?.message || cause?.code || error.message}.`
}
