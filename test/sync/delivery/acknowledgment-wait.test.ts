import { expect, test } from 'vitest'
import { AcknowledgmentWait } from '../../../src/sync/delivery/acknowledgment-wait.ts'

function startWait(): { wait: AcknowledgmentWait; pass: (seconds: number) => void } {
  let now = 0
  const wait = new AcknowledgmentWait({ monotonicNow: () => now })
  const pass = (seconds: number): void => {
    now += seconds * 1000
  }
  return { wait, pass }
}

test('what is open is sent again once, and after as long again the client has stalled', () => {
  const { wait, pass } = startWait()
  wait.onWindowOpened()

  pass(13)
  expect(wait.check()).toBe('ok')
  pass(1)
  expect(wait.check()).toBe('resend')
  wait.onWindowOpened() // by what is sent again
  pass(13)
  expect(wait.check()).toBe('ok')
  pass(1)
  expect(wait.check()).toBe('stalled')
  expect(wait.silentMs).toBe(28_000)
})

test('an acknowledgment starts all of it anew', () => {
  const { wait, pass } = startWait()
  pass(14)
  expect(wait.check()).toBe('resend')

  wait.onAcknowledged()

  expect(wait.silentMs).toBe(0)
  pass(13)
  expect(wait.check()).toBe('ok')
  pass(1)
  expect(wait.check()).toBe('resend')
})

test('an excuse gives the client its time again, and not another resend', () => {
  const { wait, pass } = startWait()
  pass(14)
  expect(wait.check()).toBe('resend')
  pass(13)

  wait.excuse()

  expect(wait.silentMs).toBe(0)
  pass(13)
  expect(wait.check()).toBe('ok')
  pass(1)
  expect(wait.check()).toBe('stalled')
})

test('the time while nothing was open does not count', () => {
  const { wait, pass } = startWait()
  pass(60)

  wait.onWindowOpened()

  expect(wait.silentMs).toBe(0)
  expect(wait.check()).toBe('ok')
})
