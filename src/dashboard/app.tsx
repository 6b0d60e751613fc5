import type { JSX } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import type { Overview } from '../http/dashboard/api-types.ts'
import { ApiClient, ApiError } from './api-client.ts'
import { ClientContext } from './client-context.ts'
import { useLive } from './live.ts'
import { Header } from './parts/header.tsx'
import { useRoute } from './route.ts'
import { TokenForm } from './token-form.tsx'
import { CollectionsView } from './views/collections.tsx'
import { OverviewView } from './views/overview.tsx'
import { RecordView } from './views/record.tsx'
import { RecordsView } from './views/records.tsx'
import { RefusalsView } from './views/refusals.tsx'
import { ServersView } from './views/servers.tsx'
import { SessionsView } from './views/sessions.tsx'
import { WarningsView } from './views/warnings.tsx'

type Access =
  | { readonly state: 'asking' }
  | { readonly state: 'unreachable'; readonly problem: string }
  | { readonly state: 'locked'; readonly problem: string | null }
  | { readonly state: 'closed'; readonly problem: string }
  | { readonly state: 'open'; readonly token: string | null }

const ASK_AGAIN_MS = 2000

/** Asks for the token where one is needed, and shows the dashboard once it is accepted. */
export function App(): JSX.Element | null {
  const [access, setAccess] = useState<Access>({ state: 'asking' })
  const isAsking = access.state === 'asking' || access.state === 'unreachable'

  useEffect(() => {
    if (!isAsking) return
    let timer: ReturnType<typeof setTimeout> | undefined
    const ask = async (): Promise<void> => {
      const next = await tryToken(null)
      setAccess(next)
      if (next.state === 'unreachable') timer = setTimeout(() => void ask(), ASK_AGAIN_MS)
    }
    void ask()
    return () => clearTimeout(timer)
  }, [isAsking])

  switch (access.state) {
    case 'asking':
      return null
    case 'unreachable':
      return <Gate title="The server does not answer">{access.problem} Asking again every two seconds.</Gate>
    case 'closed':
      return <Gate title="The dashboard is closed">{access.problem}</Gate>
    case 'locked':
      return (
        <TokenForm
          problem={access.problem}
          onToken={async (token) => {
            const next = await tryToken(token)
            setAccess(next.state === 'unreachable' ? { state: 'locked', problem: next.problem } : next)
          }}
        />
      )
    case 'open':
      return (
        <Dashboard
          token={access.token}
          onRefused={({ message }) => setAccess({ state: 'locked', problem: message })}
        />
      )
  }
}

async function tryToken(token: string | null): Promise<Access> {
  try {
    await new ApiClient(token).get<Overview>('overview', { samples: 'no' })
    return { state: 'open', token }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    if (error.status === 401) return { state: 'locked', problem: token === null ? null : error.message }
    if (error.status === 403 || error.status === 404) return { state: 'closed', problem: error.message }
    if (error.status === 429) return { state: 'locked', problem: error.message }
    return { state: 'unreachable', problem: error.message }
  }
}

interface DashboardProperties {
  readonly token: string | null
  readonly onRefused: (error: ApiError) => void
}

function Dashboard({ token, onRefused }: DashboardProperties): JSX.Element {
  const client = useMemo(() => new ApiClient(token), [token])
  const live = useLive(client, onRefused)
  const { path, parameters } = useRoute()
  const [section = 'overview', first, second] = path

  const view = (): JSX.Element => {
    switch (section) {
      case 'overview':
        return <OverviewView live={live} />
      case 'sessions':
        return <SessionsView parameters={parameters} />
      case 'records':
        if (first === undefined) return <CollectionsView />
        if (second === undefined) return <RecordsView key={first} name={first} parameters={parameters} />
        return <RecordView key={`${first}/${second}`} collection={first} id={second} />
      case 'refusals':
        return <RefusalsView />
      case 'warnings':
        return <WarningsView />
      case 'servers':
        return <ServersView live={live} />
      default:
        return (
          <Gate title="There is no such page">
            <a href="#/overview">Go to the overview</a>
          </Gate>
        )
    }
  }

  return (
    <ClientContext.Provider value={client}>
      <Header section={section} live={live} />
      <main>{view()}</main>
    </ClientContext.Provider>
  )
}

function Gate({ title, children }: { title: string; children: preact.ComponentChildren }): JSX.Element {
  return (
    <div class="gate">
      <h1>{title}</h1>
      <p>{children}</p>
    </div>
  )
}
