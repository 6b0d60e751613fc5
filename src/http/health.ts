import type { FastifyInstance } from 'fastify'
import type { Runtime } from '../core/runtime.ts'
import type { ServerStore } from '../store/store.ts'
import type { Readiness } from './readiness.ts'
import { storeMarkOf } from './store-mark.ts'

export interface HealthOptions {
  readonly readiness: Readiness
  readonly store: Pick<ServerStore, 'getNodeId'>
  readonly runtime: Runtime
  /** ms, monotonic */
  readonly startedAt: number
}

/** `GET /health`: the process is alive. `GET /ready`: it does its work, or says why not. Always public. */
export function mountHealth(
  app: FastifyInstance,
  { readiness, store, runtime, startedAt }: HealthOptions,
): void {
  app.get('/health', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    const uptimeSeconds = Math.round((runtime.monotonicNow() - startedAt) / 1000)
    return { status: 'ok', uptimeSeconds, store: storeMarkOf(store) }
  })
  app.get('/ready', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    const reason = await readiness.problem()
    if (reason === null) return { status: 'ready' }
    return reply.code(503).send({ status: 'unavailable', reason })
  })
}
