import type { FastifyInstance } from 'fastify'
import type { Runtime } from '../core/runtime.ts'
import type { Readiness } from './readiness.ts'

export interface HealthOptions {
  readonly readiness: Readiness
  readonly runtime: Runtime
  /** ms, monotonic */
  readonly startedAt: number
}

/** `GET /health`: the process lives. `GET /ready`: it does its work, or says why not. Always public. */
export function mountHealth(app: FastifyInstance, { readiness, runtime, startedAt }: HealthOptions): void {
  app.get('/health', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    return { status: 'ok', uptimeSeconds: Math.round((runtime.monotonicNow() - startedAt) / 1000) }
  })
  app.get('/ready', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    const reason = await readiness.problem()
    if (reason === null) return { status: 'ready' }
    return reply.code(503).send({ status: 'unavailable', reason })
  })
}
