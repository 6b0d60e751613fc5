import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { metricsReference } from '../../scripts/reference/metrics-reference.ts'
import { METRICS, type MetricDefinition } from '../../src/core/metrics.ts'
import { openDevice } from '../support/device.ts'
import { orderSchema, startProductionServer, type TestServer } from '../support/production-server.ts'

const definitions: readonly MetricDefinition[] = Object.values(METRICS)

test('metrics count what devices and the application do', async () => {
  await using server = await startProductionServer({
    syncOptions: {
      validateOperation: ({ data }) =>
        data?.title === 'forbidden'
          ? { action: 'reject', code: 'CLIENT_CHOSEN_"\n', message: 'no' }
          : { action: 'accept' },
    },
  })
  const before = await scrape(server)
  expect(before.get('kora_operations_total{outcome="applied"}')).toBe(0)
  expect(before.get('kora_sessions{state="streaming"}')).toBe(0)

  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
  await using laptop = await openDevice({ url: server.syncUrl, schema: orderSchema })
  const id = phone.insert('orders', { title: 'tea', status: 'open' })
  phone.insert('orders', { title: 'forbidden', status: 'open' })
  await phone.synced()
  await laptop.until(() => laptop.record('orders', id) !== null, 'the order is here')
  await server.kora.apply({ collection: 'orders', type: 'update', id, data: { status: 'paid' } })

  const after = await scrape(server)
  expect(Object.fromEntries(after)).toMatchObject({
    'kora_operations_total{outcome="applied"}': 2,
    'kora_operations_total{outcome="refused"}': 1,
    'kora_operations_refused_total{code="application"}': 1,
    'kora_sessions{state="streaming"}': 2,
    kora_sessions_opened_total: 2,
    kora_commit_operations_sum: 3, // with the one that is refused: it might be stored already
    kora_log_operations: 2,
    kora_delivery_sequence: 2,
    kora_ready: 1,
    kora_views: 1,
  })
  expect(after.get('kora_commit_duration_seconds_count')).toBeGreaterThan(0)
  expect(after.get('kora_acknowledgment_duration_seconds_count')).toBeGreaterThan(0)
  expect(after.get('kora_operations_delivered_total')).toBeGreaterThanOrEqual(1)
  expect(after.get('kora_store_bytes')).toBeGreaterThan(4096)
  expect(after.get('kora_event_loop_delay_seconds{quantile="0.99"}')).toBeGreaterThanOrEqual(0)
  expect([...after.keys()].some((name) => name.includes('CLIENT_CHOSEN'))).toBe(false)
})

test('what a store held that does not answer is absent, not 0', async () => {
  await using server = await startProductionServer()
  await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })
  expect((await scrape(server)).get('kora_log_operations')).toBe(1)

  await server.store.close()

  await expect.poll(async () => (await scrape(server)).get('kora_ready')).toBe(0)
  const names = [...(await scrape(server)).keys()]
  expect(names).not.toContain('kora_log_operations')
  expect(names).not.toContain('kora_store_bytes')
  expect(names).toContain('kora_delivery_sequence')
})

test('presence is counted while it is shown', async () => {
  await using server = await startProductionServer()
  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
  const statesShown = async () => (await scrape(server)).get('kora_presence_states')

  phone.setPresence({ user: { name: 'Ada', color: '#2563eb' } })
  await expect.poll(statesShown).toBe(1)
  phone.setPresence(null)
  await expect.poll(statesShown).toBe(0)
})

test('every metric of the table is served, and no other one of ours', async () => {
  await using server = await startProductionServer()
  await scrape(server)

  const text = await scrapeText(server)

  const served = [...text.matchAll(/^# TYPE (kora_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`)
  expect(served.sort()).toEqual(definitions.map(({ name, type }) => `${name} ${type}`).sort())
})

test('a server that was stopped and starts again is scraped as before', async () => {
  await using server = await startProductionServer()
  await scrape(server)
  await server.stop()

  const url = await server.start()

  const names = [...(await scrape({ url })).keys()]
  expect(names).toContain('process_cpu_seconds_total')
  expect(names).toContain('kora_ready')
})

test('names say what they count and in which unit', () => {
  for (const { name, type, unit, buckets } of definitions) {
    expect(name).toMatch(/^kora_[a-z_]+$/)
    expect(name.endsWith('_total'), name).toBe(type === 'counter')
    if (unit === 'seconds' || unit === 'bytes') expect(name).toMatch(new RegExp(`_${unit}$`))
    expect(buckets !== undefined, name).toBe(type === 'histogram')
  }
})

test('docs/metrics.md is the one that the table gives (npm run generate)', () => {
  expect(readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')).toBe(metricsReference())
})

test('the example alerts and the dashboard ask only for metrics that there are', () => {
  const names = new Set(
    definitions.flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  )
  for (const file of ['alerts.yaml', 'grafana-dashboard.json']) {
    const text = readFileSync(new URL(`../../config/monitoring/${file}`, import.meta.url), 'utf8')
    const asked = [...text.matchAll(/\bkora_[a-z_]+/g)].map(([name]) => name)
    expect(asked.length, file).toBeGreaterThan(5)
    expect(
      asked.filter((name) => !names.has(name)),
      file,
    ).toEqual([])
  }
})

async function scrapeText({ url }: Pick<TestServer, 'url'>): Promise<string> {
  const response = await fetch(`${url}/__kora/metrics`)
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  return response.text()
}

/** Name with labels → value. */
async function scrape(server: Pick<TestServer, 'url'>): Promise<Map<string, number>> {
  const lines = (await scrapeText(server)).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(' ')
      return [line.slice(0, end), Number(line.slice(end + 1))]
    }),
  )
}
