import type { ServerResponse } from 'node:http'
import type { Runtime } from '../core/runtime.ts'
import type { ServerStore } from '../store/store.ts'

export interface HealthOptions {
  readonly store: ServerStore
  readonly runtime: Runtime
  /** ms, monotonic */
  readonly startedAt: number
  readonly isStopping: () => boolean
}

/** How long the store may take to answer before the server counts as not ready. */
const STORE_TIMEOUT_MS = 5000

/** `GET /health`: the process lives. */
export function answerHealth(response: ServerResponse, { runtime, startedAt }: HealthOptions): void {
  const uptimeSeconds = Math.round((runtime.monotonicNow() - startedAt) / 1000)
  answerJson(response, 200, { status: 'ok', uptimeSeconds })
}

/** `GET /ready`: the server does its work, or says why not. */
export async function answerReady(response: ServerResponse, options: HealthOptions): Promise<void> {
  if (options.isStopping()) {
    answerJson(response, 503, { status: 'unavailable', reason: 'The server is shutting down.' })
    return
  }
  const reason = await storeProblem(options)
  if (reason === null) answerJson(response, 200, { status: 'ready' })
  else answerJson(response, 503, { status: 'unavailable', reason })
}

export function answerJson(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  })
  response.end(text)
}

async function storeProblem({ store, runtime }: HealthOptions): Promise<string | null> {
  const timeout = new Promise<string>((resolve) => {
    runtime.setTimer(STORE_TIMEOUT_MS, () =>
      resolve(`The store has not answered for ${STORE_TIMEOUT_MS / 1000} s.`),
    )
  })
  const check = store.checkHealth().then(
    () => null,
    // The cause may name hosts and files: it goes to the log, not to whoever asks.
    () => 'The store does not answer or cannot commit.',
  )
  return Promise.race([check, timeout])
}
