import type { JSX } from 'preact'
import { formatDuration } from '../format.ts'
import type { Live } from '../live.ts'

const SECTIONS = [
  ['overview', 'Overview'],
  ['sessions', 'Sessions'],
  ['records', 'Records'],
  ['refusals', 'Refusals'],
  ['warnings', 'Warnings'],
  ['servers', 'Servers'],
] as const

export function Header({ section, live }: { section: string; live: Live }): JSX.Element {
  const { overview } = live
  return (
    <header class="top">
      <div class="bar">
        <span class="brand">kora-server</span>
        {overview !== null && (
          <span class="quiet hide-narrow">
            {overview.version} · up {formatDuration(overview.uptimeMs)}
          </span>
        )}
        <Connection live={live} />
      </div>
      <nav aria-label="Sections">
        {SECTIONS.map(([name, title]) => (
          <a key={name} href={`#/${name}`} aria-current={name === section ? 'page' : undefined}>
            {title}
            {name === 'refusals' && <Badge count={overview?.operationsRefused} />}
            {name === 'warnings' && <Badge count={overview?.warnings} />}
          </a>
        ))}
      </nav>
      {overview !== null && !live.isConnected && (
        <p class="notice" role="alert">
          The server does not answer. What you see is how it was; the page asks again until it is back.
        </p>
      )}
      {live.isConnected && live.refusal !== null && (
        <p class="notice" role="alert">
          {live.refusal} What you see is asked for from time to time instead.
        </p>
      )}
      {live.isConnected && overview?.problem && (
        <p class="notice" role="alert">
          Not ready: {overview.problem}
        </p>
      )}
    </header>
  )
}

function Connection({ live }: { live: Live }): JSX.Element {
  const state = connectionState(live)
  const text = { live: 'Live', polled: 'Not live', unready: 'Not ready', lost: 'Reconnecting…' }[state]
  return (
    <span class={`connection ${state}`} data-testid="connection">
      <span class="dot" aria-hidden="true" />
      {text}
    </span>
  )
}

function connectionState({ isConnected, overview, refusal }: Live): 'live' | 'polled' | 'unready' | 'lost' {
  if (!isConnected) return 'lost'
  if (overview?.problem) return 'unready'
  return refusal === null ? 'live' : 'polled'
}

function Badge({ count }: { count: number | undefined }): JSX.Element | null {
  if (count === undefined || count === 0) return null
  return <span class="badge">{count > 999 ? '999+' : count}</span>
}
