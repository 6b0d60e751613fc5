import type { JSX } from 'preact'
import type { ServersAnswer } from '../../http/dashboard/api-types.ts'
import { formatCount, formatDuration } from '../format.ts'
import type { Live } from '../live.ts'
import { PageTitle, Problem, Waiting } from '../parts/states.tsx'
import { Id, Time } from '../parts/values.tsx'
import { useAnswer } from '../use-answer.ts'

const REFRESH_MS = 5000

export function ServersView({ live }: { live: Live }): JSX.Element {
  const loaded = useAnswer<ServersAnswer>('servers', {}, REFRESH_MS)
  const { answer } = loaded
  return (
    <>
      <PageTitle title="Servers">
        {answer !== null && <span class="quiet">{formatCount(answer.servers.length)} on this store</span>}
      </PageTitle>
      <Problem loaded={loaded} />
      <Waiting loaded={loaded} />
      {answer !== null && (
        <table class="cards">
          <thead>
            <tr>
              <th>Server</th>
              <th class="number">Schema version</th>
              <th>Seen</th>
            </tr>
          </thead>
          <tbody>
            {answer.servers.map(({ id, isThis, schemaVersion, seenAt }) => (
              <tr key={id}>
                <td data-label="Server">
                  <Id id={id} isShort={false} />
                  {isThis && <span class="tag">this one</span>}
                </td>
                <td class="number" data-label="Schema version">
                  {formatCount(schemaVersion)}
                </td>
                <td data-label="Seen">
                  <Time at={seenAt} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {answer !== null && !answer.isShared && (
        <p class="quiet">Only servers that share a PostgreSQL database are listed together.</p>
      )}
      {live.overview !== null && <ThisServer overview={live.overview} />}
    </>
  )
}

function ThisServer({ overview }: { overview: NonNullable<Live['overview']> }): JSX.Element {
  const facts: readonly [string, string][] = [
    ['Release', overview.version],
    ['Node.js', overview.nodeVersion],
    ['Up for', formatDuration(overview.uptimeMs)],
    ['Schema version', String(overview.schemaVersion)],
    ['Collections', overview.collections === null ? 'no schema' : String(overview.collections)],
    ['Connections since the start', formatCount(overview.sessionsOpened)],
    ['Its node id', overview.nodeId],
  ]
  return (
    <section class="panel">
      <h2>This server</h2>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}
