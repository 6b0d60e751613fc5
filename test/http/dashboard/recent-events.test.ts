import { expect, test, vi } from 'vitest'
import { LOG_EVENTS } from '../../../src/core/log-events.ts'
import { childLogger, logEvent, silentLogger } from '../../../src/core/logger.ts'
import { LatencyHistogram } from '../../../src/http/dashboard/latency-histogram.ts'
import { RecentEvents } from '../../../src/http/dashboard/recent-events.ts'
import { simulatedRuntime } from '../../support/simulated-runtime.ts'

test('a repeated warning is counted, whomever it speaks of', () => {
  const recent = new RecentEvents(simulatedRuntime())
  const logger = recent.listenTo(silentLogger)

  for (const sessionId of ['a', 'b', 'c']) {
    logEvent(childLogger(logger, { sessionId }), LOG_EVENTS.sessionFailed, { code: 'SLOW_CONSUMER' })
  }
  logEvent(logger, LOG_EVENTS.sessionFailed, { code: 'AUTH_FAILED' })

  expect(recent.warnings()).toMatchObject({
    total: 4,
    warnings: [
      { count: 1, fields: { code: 'AUTH_FAILED' } },
      { count: 3, fields: { code: 'SLOW_CONSUMER', sessionId: 'c' } },
    ],
  })
})

test('what is kept is bounded, and counts go on', () => {
  const recent = new RecentEvents(simulatedRuntime())
  const logger = recent.listenTo(silentLogger)

  for (let index = 0; index < 2000; index++) {
    logEvent(logger, LOG_EVENTS.operationRefused, { code: `APP_${index}`, detail: 'x'.repeat(100_000) })
    logEvent(logger, LOG_EVENTS.commitFailed, { err: new Error(`${index} ${'y'.repeat(100_000)}`) })
  }

  const { total, refusals, byCode } = recent.refusals()
  expect({ total, kept: refusals.length, newest: refusals[0]?.code }).toEqual({
    total: 2000,
    kept: 500,
    newest: 'APP_1999',
  })
  expect(byCode.length).toBeLessThanOrEqual(101)
  expect(byCode.reduce((sum, { count }) => sum + count, 0)).toBe(2000)
  expect(recent.warnings().warnings).toHaveLength(500)
  expect(JSON.stringify([recent.refusals(), recent.warnings()]).length).toBeLessThan(2_000_000)
})

test('what clients send makes no warning another one', () => {
  const recent = new RecentEvents(simulatedRuntime())
  const logger = recent.listenTo(silentLogger)
  const err = new Error('an important defect')

  for (let index = 0; index < 600; index++) {
    logEvent(logger, LOG_EVENTS.sessionFailed, {
      code: 'INVALID_MESSAGE',
      detail: `"x${index}" is no number`,
    })
    logEvent(logger, LOG_EVENTS.requestFailed, { path: `/orders/${index}`, err })
    logEvent(logger, LOG_EVENTS.bodiesCut, { path: `/orders/${index}`, bodies: index })
    logEvent(logger, LOG_EVENTS.configDoubtful, { subject: 'limits', detail: `setting ${index % 2}` })
  }

  const { total, warnings } = recent.warnings()
  expect(total).toBe(2400)
  expect(warnings.map(({ count, fields: { detail, path } }) => [count, detail ?? path])).toEqual([
    [300, 'setting 1'],
    [600, '/orders/599'],
    [600, '/orders/599'],
    [600, '"x599" is no number'],
    [300, 'setting 0'],
  ])
})

test('what comes in many forms pushes out nothing else', () => {
  const recent = new RecentEvents(simulatedRuntime())
  const logger = recent.listenTo(silentLogger)
  logEvent(logger, LOG_EVENTS.requestFailed, { path: '/orders', err: new Error('an important defect') })
  logEvent(logger, LOG_EVENTS.exportSilent)

  for (let index = 0; index < 600; index++) {
    logEvent(logger, LOG_EVENTS.authCallbackFailed, { callback: 'validate', err: new Error(`no ${index}`) })
    logEvent(logger, LOG_EVENTS.jwksFetchFailed, { url: 'https://id', reason: `no ${index}` })
  }

  const { warnings } = recent.warnings()
  expect(warnings).toHaveLength(500)
  expect(warnings.slice(-2).map(({ message }) => message)).toEqual([
    LOG_EVENTS.exportSilent.message,
    LOG_EVENTS.requestFailed.message,
  ])
  const errors = warnings.filter(({ level }) => level === 'error')
  expect(errors).toHaveLength(250)
  expect(errors[0]?.fields.err).toBe('no 599')
})

test('no secret is kept', () => {
  const recent = new RecentEvents(simulatedRuntime())
  const logger = recent.listenTo(silentLogger)

  logger.error(
    {
      err: new Error('connect postgres://kora:canary@db/kora failed'),
      token: 'canary',
      nested: { connection: 'password=canary' },
    },
    'store unavailable',
  )

  expect(JSON.stringify(recent.warnings())).not.toContain('canary')
})

test('a circular field ends nothing', () => {
  const recent = new RecentEvents(simulatedRuntime())
  const circular: { self?: unknown } = {}
  circular.self = circular

  recent.listenTo(silentLogger).error({ circular }, 'presence met a programming error')

  expect(recent.warningCount).toBe(1)
})

test('quantiles of durations are right to a fifth', () => {
  const histogram = new LatencyHistogram()
  for (let durationMs = 1; durationMs <= 1000; durationMs++) histogram.add(durationMs)

  expect(histogram.quantile(0.5)).toBeGreaterThanOrEqual(500)
  expect(histogram.quantile(0.5)).toBeLessThan(600)
  expect(histogram.quantile(0.99)).toBeGreaterThanOrEqual(990)
  expect(histogram.quantile(0.99)).toBeLessThan(1190)
  histogram.clear()
  expect(histogram.quantile(0.5)).toBeNull()
  histogram.add(Number.POSITIVE_INFINITY)
  histogram.add(0)
  expect(histogram.quantile(0.1)).toBeLessThan(0.1)
})

test('what a logger behind it rejects with is looked after by who logs', async () => {
  const rejecting = { ...silentLogger, info: () => Promise.reject(new Error('shipper down')) }
  const logger = new RecentEvents(simulatedRuntime()).listenTo(rejecting)
  const unhandled = vi.fn()
  process.once('unhandledRejection', unhandled)

  logEvent(logger, LOG_EVENTS.serverStarted, { url: 'http://127.0.0.1' })
  await new Promise((resolve) => setImmediate(resolve))

  process.off('unhandledRejection', unhandled)
  expect(unhandled).not.toHaveBeenCalled()
})
