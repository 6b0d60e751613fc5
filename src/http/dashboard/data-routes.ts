import type { FastifyInstance, FastifyReply } from 'fastify'
import { KoraServerError } from '../../core/errors.ts'
import { OperatorAccess } from '../../sync/authorization.ts'
import { type OperationsAccess, sendRefusal } from '../operations/access.ts'
import type { ShownSessionState } from './api-types.ts'
import { OverviewReader, type OverviewSource } from './overview.ts'
import { QueryParameters } from './query-parameters.ts'
import { RecordBrowser, type RecordsQuery } from './record-browser.ts'
import { readHistory } from './record-history.ts'
import { SESSION_ORDERS, SessionDirectory, type SessionsQuery } from './session-directory.ts'

export interface DataRoutesOptions extends OverviewSource {
  readonly access: OperationsAccess
}

const PAGE = { fallback: 50, max: 200 }
const HISTORY_PAGE = { fallback: 100, max: 1000 }
const MAX_POSITION = Number.MAX_SAFE_INTEGER
const STATES: readonly (ShownSessionState | 'any')[] = [
  'any',
  'connected',
  'authenticating',
  'syncing',
  'streaming',
]

type Read = (parameters: QueryParameters, operator: OperatorAccess<'admin'>) => Promise<object> | object

/**
 * The data routes of the dashboard, under `/__kora/api/`, as JSON. They only read, and are opened by the admin
 * token. Each answers a page at a time, so its cost does not grow with the log or the number of sessions.
 */
export function mountDataRoutes(app: FastifyInstance, prefix: string, options: DataRoutesOptions): void {
  const { access, runtime, hub, recent } = options
  const overview = new OverviewReader(options)
  const browser = new RecordBrowser(runtime)
  const sessions = new SessionDirectory(hub, runtime)

  app.register(async (scope) => {
    scope.setErrorHandler((error, _request, reply) => answerError(error, reply))
    const route = (name: string, read: Read): void => {
      scope.get(`${prefix}/${name}`, async (request, reply) => {
        reply.header('cache-control', 'no-store')
        const operator = access.admit(request.raw, 'admin')
        if (!(operator instanceof OperatorAccess)) return sendRefusal(reply, operator)
        return read(new QueryParameters(request), operator)
      })
    }

    route('overview', (parameters) => overview.overview(overviewQuery(parameters)))
    route('servers', () => overview.servers())
    route('refusals', () => recent.refusals())
    route('warnings', () => recent.warnings())
    route('collections', (_parameters, operator) => browser.collections(operator))
    route('sessions', (parameters) => sessions.page(sessionsQuery(parameters)))
    route('records', (parameters, operator) => browser.records(operator, recordsQuery(parameters)))
    route('record', (parameters, operator) => readRecord(browser, parameters, operator))
  })
}

function overviewQuery(parameters: QueryParameters): { hasSamples: boolean } {
  return { hasSamples: parameters.choice('samples', ['yes', 'no'], 'yes') === 'yes' }
}

function sessionsQuery(parameters: QueryParameters): SessionsQuery {
  const state = parameters.choice('state', STATES, 'any')
  return {
    offset: parameters.integer('offset', { fallback: 0, max: MAX_POSITION }),
    limit: parameters.integer('limit', PAGE),
    search: parameters.text('search', ''),
    state: state === 'any' ? null : state,
    order: parameters.choice('order', SESSION_ORDERS, 'connected'),
  }
}

function recordsQuery(parameters: QueryParameters): RecordsQuery {
  return {
    collection: parameters.requiredText('collection'),
    where: parameters.object('where'),
    orderBy: parameters.text('orderBy', 'id'),
    direction: parameters.choice('direction', ['asc', 'desc'], 'asc'),
    offset: parameters.integer('offset', { fallback: 0, max: MAX_POSITION }),
    limit: parameters.integer('limit', PAGE),
    includeDeleted: parameters.choice('deleted', ['yes', 'no'], 'no') === 'yes',
  }
}

/** Reads one record, and a page of its operations. */
async function readRecord(
  browser: RecordBrowser,
  parameters: QueryParameters,
  operator: OperatorAccess<'admin'>,
): Promise<object> {
  const collection = parameters.requiredText('collection')
  const id = parameters.requiredText('id')
  const after = parameters.integer('after', { fallback: -1, max: MAX_POSITION })
  const limit = Math.max(1, parameters.integer('limit', HISTORY_PAGE))
  const history = await readHistory(operator, { collection, id, after: after === -1 ? null : after, limit })
  return { collection, id, record: await browser.record(operator, collection, id), ...history }
}

/** Answers errors of the query; any other error is rethrown, for the server to log. */
function answerError(error: unknown, reply: FastifyReply): FastifyReply {
  if (!(error instanceof KoraServerError)) throw error
  switch (error.code) {
    case 'UNKNOWN_COLLECTION':
    case 'UNKNOWN_FIELD':
    case 'INVALID_QUERY':
    case 'NO_SCHEMA':
      return reply.code(400).send({ error: error.message })
    case 'STORE_UNAVAILABLE':
    case 'STORE_CLOSED':
      return reply
        .code(503)
        .send({ error: 'The store does not answer right now; see the log of the server.' })
    default:
      throw error
  }
}
