import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { SessionsPage, ShownSession } from '../../http/dashboard/api-types.ts'
import { formatBytes, formatCount, formatDuration, formatQuantity } from '../format.ts'
import { Pager } from '../parts/pager.tsx'
import { Empty, PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Id, Text } from '../parts/values.tsx'
import { href, navigate } from '../route.ts'
import { useAnswer } from '../use-answer.ts'

const PAGE_SIZE = 50
const REFRESH_MS = 3000
const STATES = ['any', 'connected', 'authenticating', 'syncing', 'streaming']
const ORDERS = [
  ['connected', 'oldest first'],
  ['lag', 'furthest behind'],
  ['unacknowledged', 'longest silent'],
  ['buffer', 'largest buffer'],
] as const
const SEARCH_PAUSE_MS = 300
/** Silence after which a client will soon be sent everything again. */
const LONG_SILENCE_MS = 10_000

export function SessionsView({ parameters }: { parameters: URLSearchParams }): JSX.Element {
  const question = {
    search: parameters.get('search') ?? '',
    state: parameters.get('state') ?? 'any',
    order: parameters.get('order') ?? 'connected',
    offset: Number(parameters.get('offset') ?? 0) || 0,
  }
  const loaded = useAnswer<SessionsPage>('sessions', { ...question, limit: PAGE_SIZE }, REFRESH_MS)
  const ask = (change: Partial<typeof question>): void => {
    const { offset, ...rest } = { ...question, offset: 0, ...change }
    navigate(href(['sessions'], { ...rest, offset: String(offset) }))
  }
  const { answer } = loaded
  return (
    <>
      <PageTitle title="Sessions">
        {answer !== null && <span class="quiet">{formatCount(answer.total)} open</span>}
      </PageTitle>
      <div class="filters">
        <Search text={question.search} onSearch={(search) => ask({ search })} />
        <label>
          State
          <select value={question.state} onChange={(event) => ask({ state: event.currentTarget.value })}>
            {STATES.map((state) => (
              <option key={state} value={state}>
                {state}
              </option>
            ))}
          </select>
        </label>
        <label>
          Order
          <select value={question.order} onChange={(event) => ask({ order: event.currentTarget.value })}>
            {ORDERS.map(([order, title]) => (
              <option key={order} value={order}>
                {title}
              </option>
            ))}
          </select>
        </label>
      </div>
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && <SessionTable page={answer} />}
      {answer !== null && (
        <Pager
          offset={answer.offset}
          shown={answer.sessions.length}
          total={answer.matching}
          hasMore={answer.offset + answer.sessions.length < answer.matching}
          pageSize={PAGE_SIZE}
          onTurn={(offset) => ask({ offset })}
        />
      )}
    </>
  )
}

/** Searches for typed text after a pause; another search in the address replaces it. */
function Search({ text, onSearch }: { text: string; onSearch: (text: string) => void }): JSX.Element {
  const [typed, setTyped] = useState(text)
  const search = useRef(onSearch)
  search.current = onSearch // includes anything chosen during the pause
  const asked = useRef(text)
  useEffect(() => {
    if (text !== asked.current) setTyped(text) // otherwise typing may have continued
    asked.current = text
  }, [text])
  // only typing starts the pause
  useEffect(() => {
    if (typed === text) return
    const timer = setTimeout(() => {
      asked.current = typed
      search.current(typed)
    }, SEARCH_PAUSE_MS)
    return () => clearTimeout(timer)
  }, [typed])
  return (
    <label class="grow">
      Search
      <input
        type="search"
        placeholder="User, node or address"
        value={typed}
        maxLength={200}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
    </label>
  )
}

function SessionTable({ page }: { page: SessionsPage }): JSX.Element {
  if (page.total === 0) {
    return <Empty title="No device is connected">Sessions show up here as soon as a client connects.</Empty>
  }
  if (page.sessions.length === 0) {
    return (
      <Empty title="No session matches">{`None of ${formatQuantity(page.total, 'open session')}.`}</Empty>
    )
  }
  return (
    <table class="cards">
      <thead>
        <tr>
          <th>User</th>
          <th>Node</th>
          <th>State</th>
          <th class="number">Behind</th>
          <th class="number">Silent for</th>
          <th class="number">Buffer</th>
          <th class="number">Connected</th>
          <th>Address</th>
        </tr>
      </thead>
      <tbody>
        {page.sessions.map((session) => (
          <SessionRow key={session.id} session={session} />
        ))}
      </tbody>
    </table>
  )
}

function SessionRow({ session }: { session: ShownSession }): JSX.Element {
  const { userId, nodeId, state, lagEntries, unacknowledgedMs, bufferedBytes, connectedMs, remoteAddress } =
    session
  const isSilent = unacknowledgedMs !== null && unacknowledgedMs >= LONG_SILENCE_MS
  return (
    <tr>
      <td data-label="User">{userId === null ? <span class="quiet">–</span> : <Text text={userId} />}</td>
      <td data-label="Node">{nodeId === null ? <span class="quiet">–</span> : <Id id={nodeId} />}</td>
      <td data-label="State">
        <span class={`state ${state}`}>{state}</span>
      </td>
      <td class="number" data-label="Behind">
        {formatCount(lagEntries)}
      </td>
      <td class={isSilent ? 'number strong' : 'number'} data-label="Silent for">
        {unacknowledgedMs === null || unacknowledgedMs === 0 ? '–' : formatDuration(unacknowledgedMs)}
      </td>
      <td class="number" data-label="Buffer">
        {formatBytes(bufferedBytes)}
      </td>
      <td class="number" data-label="Connected">
        {formatDuration(connectedMs)}
      </td>
      <td data-label="Address">
        <span class="quiet">{remoteAddress ?? '–'}</span>
      </td>
    </tr>
  )
}
