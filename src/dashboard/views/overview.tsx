import type { JSX } from 'preact'
import { useMemo } from 'preact/hooks'
import type { Overview } from '../../http/dashboard/api-types.ts'
import { formatBytes, formatCount, formatDuration, formatMs, formatRate, formatShort } from '../format.ts'
import { type LastLatency, lastLatency } from '../last-latency.ts'
import type { LatestOperation, Live } from '../live.ts'
import { Chart } from '../parts/chart.tsx'
import { Empty } from '../parts/states.tsx'
import { Id, Text } from '../parts/values.tsx'
import { href } from '../route.ts'

export function OverviewView({ live }: { live: Live }): JSX.Element {
  return (
    <>
      <h1 class="visually-hidden">Overview</h1>
      <Tiles live={live} />
      <Charts live={live} />
      <section class="panel">
        <h2>Latest operations</h2>
        <LatestOperations operations={live.operations} />
      </section>
    </>
  )
}

function Tiles({ live }: { live: Live }): JSX.Element {
  return (
    <dl class="tiles">
      {tilesOf(live).map(([label, value, detail]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
          <dd class="quiet">{detail}</dd>
        </div>
      ))}
    </dl>
  )
}

type Tile = readonly [label: string, value: string, detail: string]

/** The figures, with a dash where nothing has been measured yet. */
function tilesOf({ overview, samples }: Live): readonly Tile[] {
  const last = samples.at(-1)
  const latency = lastLatency(samples)
  return [
    [
      'Connections',
      last === undefined ? '–' : formatCount(last.sessions),
      overview === null ? '' : `peak ${formatCount(overview.peakSessions)}`,
    ],
    [
      'Received',
      last === undefined ? '–' : `${formatRate(last.receivedPerSecond)}/s`,
      overview === null ? '' : `${formatCount(overview.operationsReceived)} since the start`,
    ],
    [
      'Delivered',
      last === undefined ? '–' : `${formatRate(last.deliveredPerSecond)}/s`,
      overview === null ? '' : `${formatCount(overview.operationsDelivered)} since the start`,
    ],
    ['Acknowledged in', formatMs(latency?.p99Ms ?? null), last === undefined ? '' : describeAge(latency)],
    [
      'Operations in the log',
      formatCount(overview?.operations ?? null),
      last === undefined ? '' : `delivery at ${formatCount(last.deliverySequence)}`,
    ],
    ['Store', formatBytes(overview?.storeBytes ?? null), overview === null ? '' : describeStore(overview)],
    [
      'Waiting to be written',
      last === undefined ? '–' : formatBytes(last.queuedBytes),
      'sockets pause at limits.maxQueuedBytes',
    ],
    [
      'Memory',
      formatBytes(overview?.memoryBytes ?? null),
      overview === null ? '' : `Node ${overview.nodeVersion}`,
    ],
  ]
}

function describeStore({ isOnDisk, storeBytes }: Overview): string {
  if (!isOnDisk) return 'not on disk'
  return storeBytes === null ? 'not known now' : 'on disk'
}

function describeAge(latency: LastLatency | null): string {
  if (latency === null) return 'nothing in the last minute'
  if (latency.ageMs === 0) return 'p99 of the last second'
  return `p99 of a second, ${formatDuration(latency.ageMs)} ago`
}

function Charts({ live: { samples } }: { live: Live }): JSX.Element {
  const charts = useMemo(() => {
    const times = samples.map(({ at }) => at)
    return {
      times,
      received: [
        { label: 'received', colour: 'blue', values: samples.map((sample) => sample.receivedPerSecond) },
        { label: 'refused', colour: 'red', values: samples.map((sample) => sample.refusedPerSecond) },
      ],
      delivered: [
        { label: 'delivered', colour: 'teal', values: samples.map((sample) => sample.deliveredPerSecond) },
      ],
      latency: [
        { label: 'p50', colour: 'blue', values: samples.map((sample) => sample.acknowledgeP50Ms) },
        { label: 'p99', colour: 'amber', values: samples.map((sample) => sample.acknowledgeP99Ms) },
        { label: 'commit p99', colour: 'grey', values: samples.map((sample) => sample.commitP99Ms) },
      ],
      connections: [{ label: 'open', colour: 'teal', values: samples.map((sample) => sample.sessions) }],
    }
  }, [samples])
  return (
    <div class="charts">
      <Chart title="Received per second" times={charts.times} series={charts.received} format={formatRate} />
      <Chart
        title="Delivered per second"
        times={charts.times}
        series={charts.delivered}
        format={formatRate}
      />
      <Chart title="Time to acknowledge" times={charts.times} series={charts.latency} format={formatMs} />
      <Chart
        title="Connections"
        times={charts.times}
        series={charts.connections}
        format={formatShort}
        isWhole
      />
    </div>
  )
}

function LatestOperations({ operations }: { operations: readonly LatestOperation[] }): JSX.Element {
  if (operations.length === 0) {
    return (
      <Empty title="Nothing has been written since this page was opened">
        What devices write shows up here.
      </Empty>
    )
  }
  return (
    <table class="cards">
      <thead>
        <tr>
          <th>Collection</th>
          <th>Record</th>
          <th>Node</th>
          <th class="number">Sequence</th>
        </tr>
      </thead>
      <tbody>
        {operations.map(({ deliverySequence, collection, recordId, nodeId, kind }) => (
          <tr key={deliverySequence}>
            <td data-label="Collection">
              <a href={href(['records', collection])}>
                <Text text={collection} />
              </a>
              {kind === 'snapshot' && <span class="tag">snapshot</span>}
            </td>
            <td data-label="Record">
              <a href={href(['records', collection, recordId])}>
                <Id id={recordId} isShort={false} />
              </a>
            </td>
            <td data-label="Node">
              <Id id={nodeId} />
            </td>
            <td class="number" data-label="Sequence">
              {formatCount(deliverySequence)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
