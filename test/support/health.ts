import { sleep } from './cluster.ts'
import type { Daemon } from './daemon.ts'

const ASK_INTERVAL_MS = 100
const ANSWER_MS = 15_000

/** For daemons whose health is looked at: their other endpoints are asked with it. */
export const ADMIN_TOKEN = 'token-of-the-operator'

/**
 * Asks `/ready` again and again until it says so.
 *
 * @returns ms from `sinceMs` (of `performance.now()`) to the answer
 * @throws Error after `timeoutMs`
 */
export async function untilReady(
  daemon: Daemon,
  isReady: boolean,
  { sinceMs, timeoutMs }: { sinceMs: number; timeoutMs: number },
): Promise<number> {
  for (;;) {
    const status = await statusOf(daemon, '/ready')
    const elapsedMs = performance.now() - sinceMs
    if (status === (isReady ? 200 : 503)) return elapsedMs
    if (elapsedMs > timeoutMs) {
      throw new Error(`/ready answers ${status} after ${Math.round(elapsedMs)} ms`)
    }
    await sleep(ASK_INTERVAL_MS)
  }
}

/** Asks `/ready` for so long. @returns how often it did not say that the server is ready */
export async function countUnready(daemon: Daemon, durationMs: number): Promise<number> {
  const endsAt = performance.now() + durationMs
  let unready = 0
  while (performance.now() < endsAt) {
    if ((await statusOf(daemon, '/ready')) !== 200) unready++
    await sleep(ASK_INTERVAL_MS)
  }
  return unready
}

/**
 * Whether everybody who is asked tells the same as `/ready`: the metrics, the command `status`, and
 * `/health`, which only says that a restart would not help.
 *
 * @returns what is not so, as sentences
 */
export async function findHealthLies(daemon: Daemon, isReady: boolean): Promise<string[]> {
  const [health, metrics, status] = await Promise.all([
    statusOf(daemon, '/health'),
    readyMetric(daemon),
    daemon.run(['status', '--url', daemon.httpUrl, '--token', ADMIN_TOKEN]),
  ])
  const hasReason = /^Not ready: (?!it does not say why)\S/m.test(status.stderr)
  return [
    ...(health === 200 ? [] : [`/health answers ${health}`]),
    ...(metrics === (isReady ? 1 : 0) ? [] : [`kora_ready is ${metrics}`]),
    ...(status.code === (isReady ? 0 : 1) ? [] : [`status exits with ${status.code}`]),
    ...(hasReason === !isReady ? [] : [`status says: ${status.stderr}`]),
  ]
}

async function statusOf(daemon: Daemon, path: string): Promise<number> {
  const response = await fetch(`${daemon.httpUrl}${path}`, { signal: AbortSignal.timeout(ANSWER_MS) })
  await response.text()
  return response.status
}

async function readyMetric(daemon: Daemon): Promise<number> {
  const response = await fetch(`${daemon.httpUrl}/__kora/metrics`, {
    headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    signal: AbortSignal.timeout(ANSWER_MS),
  })
  return Number(/^kora_ready (\d)$/m.exec(await response.text())?.[1])
}
