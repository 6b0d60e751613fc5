import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from '../../core/logger.ts'
import { settlesWithin } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { CompactionStats } from '../../store/compaction/compaction-schedule.ts'
import type { RestoreMode } from '../../store/restore.ts'
import { OperatorAccess, type OperatorArea } from '../../sync/authorization.ts'
import type { SyncHub } from '../../sync/hub.ts'
import type { LiveSeries } from '../dashboard/live-series.ts'
import { OPERATIONS_PREFIX } from '../own-paths.ts'
import type { PrometheusMetrics } from '../prometheus-metrics.ts'
import type { Readiness } from '../readiness.ts'
import type { ServerStatus } from '../server-status.ts'
import { type OperationsAccess, sendRefusal } from './access.ts'
import { exportBackup, importBackup } from './backup.ts'
import { OperationsEvents } from './events.ts'

export interface OperationsOptions {
  readonly access: OperationsAccess
  readonly runtime: Runtime
  readonly logger: Logger
  readonly hub: () => SyncHub
  readonly readiness: Readiness
  readonly getStatus: () => Promise<ServerStatus>
  /** null: metrics are not served */
  readonly metrics: PrometheusMetrics | null
  /** The compactions of this process so far; null: it makes none. */
  readonly compaction: () => CompactionStats | null
  /** null: there is no dashboard */
  readonly live: LiveSeries | null
}

type Handler<Area extends OperatorArea> = (
  request: FastifyRequest,
  reply: FastifyReply,
  operator: OperatorAccess<Area>,
) => Promise<unknown>

/** Wraps a handler so that it runs only for requests with access to the area. */
type Guard = <Area extends OperatorArea>(
  area: Area,
  handler: Handler<Area>,
) => (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

/** Mounts the operations endpoints, under `/__kora/`. @see docs/production-server.md */
export function mountOperations(app: FastifyInstance, options: OperationsOptions): void {
  const events = new OperationsEvents(options.hub, options.runtime)
  const endObserving = options.live?.observe((sample) => events.tell('sample', sample))
  app.addHook('preClose', async () => {
    endObserving?.()
    events.stop()
  })

  app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null)) // each handler reads its body itself

    const guarded = guardBy(options.access)
    scope.get(
      `${OPERATIONS_PREFIX}/status`,
      guarded('admin', async () => statusOf(options)),
    )
    mountEvents(scope, guarded, events)
    if (options.metrics !== null) mountMetrics(scope, guarded, options.metrics, options)
    mountExport(scope, guarded, options)
    mountImport(scope, guarded, options)
  })
}

function guardBy(access: OperationsAccess): Guard {
  return (area, handler) => async (request, reply) => {
    reply.header('cache-control', 'no-store')
    const operator = access.admit(request.raw, area)
    if (operator instanceof OperatorAccess) return handler(request, reply, operator)
    return sendRefusal(reply, operator)
  }
}

function mountEvents(scope: FastifyInstance, guarded: Guard, events: OperationsEvents): void {
  scope.get(
    `${OPERATIONS_PREFIX}/events`,
    guarded('admin', async (_request, reply) => {
      if (reply.request.method === 'HEAD') return reply.send()
      reply.hijack()
      if (!events.add(reply.raw)) {
        reply.raw.writeHead(503, { 'content-type': 'application/json', 'retry-after': '10' })
        reply.raw.end('{"error":"As many readers as are served already listen to events."}')
      }
      return reply
    }),
  )
}

function mountMetrics(
  scope: FastifyInstance,
  guarded: Guard,
  metrics: PrometheusMetrics,
  { readiness, hub, compaction }: OperationsOptions,
): void {
  const isReady = async () => (await readiness.problem()) === null
  scope.get(
    `${OPERATIONS_PREFIX}/metrics`,
    guarded('metrics', async (_request, reply, { store }) => {
      reply.header('content-type', metrics.contentType)
      return metrics.scrape({ hub: hub(), store, isReady, compaction: compaction() })
    }),
  )
}

function mountExport(scope: FastifyInstance, guarded: Guard, { runtime, logger }: OperationsOptions): void {
  scope.get(
    `${OPERATIONS_PREFIX}/backup/export`,
    { exposeHeadRoute: false },
    guarded('backup', async (_request, reply, operator) => {
      const createdAtMs = runtime.now()
      const name = `kora-${new Date(createdAtMs).toISOString().slice(0, 19).replaceAll(':', '-')}.backup`
      reply.header('content-type', 'application/octet-stream')
      reply.header('content-disposition', `attachment; filename="${name}"`)
      return exportBackup(reply.raw, operator, { createdAtMs, logger })
    }),
  )
}

function mountImport(scope: FastifyInstance, guarded: Guard, { hub, runtime }: OperationsOptions): void {
  scope.post(
    `${OPERATIONS_PREFIX}/backup/import`,
    guarded('backup', async (request, reply, operator) => {
      const mode = importMode(request)
      if (mode === null) return reply.code(400).send({ error: 'mode must be "merge" or "replace".' })
      const { asIs = 'false' } = request.query as { asIs?: unknown } // any query is an object
      if (asIs !== 'true' && asIs !== 'false')
        return reply.code(400).send({ error: 'asIs must be "true" or "false".' })
      const options = { operator, hub: hub(), asIs: asIs === 'true', now: () => runtime.now() }
      const { status, body } = await importBackup(request.raw, mode, options)
      return reply.code(status).send(body)
    }),
  )
}

async function statusOf({ readiness, getStatus, runtime }: OperationsOptions): Promise<object> {
  const problem = await readiness.problem()
  if (problem === null) return { ready: true, ...(await getStatus()) }
  // A store that does not answer cannot tell how much it holds either.
  const status = getStatus().catch(() => ({}))
  const isKnown = await settlesWithin(status, { runtime, timeoutMs: STATUS_TIMEOUT_MS })
  return { ready: false, reason: problem, ...(isKnown && (await status)) }
}

const STATUS_TIMEOUT_MS = 1000

/** @returns null when the query names no known mode */
function importMode(request: FastifyRequest): RestoreMode | null {
  const { mode } = request.query as { mode?: unknown } // any query is an object
  if (mode === undefined) return 'empty'
  return mode === 'merge' || mode === 'replace' ? mode : null
}
