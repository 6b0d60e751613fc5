import { expect, test } from 'vitest'
import { ResentEnds } from '../../../src/sync/delivery/resent-ends.ts'

test('a stream that sends nothing again may go as far as it likes', () => {
  const ends = new ResentEnds()

  ends.pass(100, false)

  expect(ends).toMatchObject({ isEmpty: true, limit: Number.POSITIVE_INFINITY })
  expect(ends.takePassed()).toEqual([])
})

test('what is sent again ends where it did', () => {
  const ends = new ResentEnds()
  ends.restart([10, 20])

  expect(ends).toMatchObject({ isEmpty: false, limit: 10 })
  ends.pass(9, true)
  expect(ends.limit).toBe(10)
  ends.pass(10, true)
  expect(ends.limit).toBe(20)
  ends.pass(20, true)

  expect(ends.isEmpty).toBe(true)
  expect(ends.takePassed()).toEqual([])
})

test('those that were passed with nothing to send are told once', () => {
  const ends = new ResentEnds()
  ends.restart([10, 20, 30])

  ends.pass(10, false)
  ends.pass(20, false)
  expect(ends.takePassed()).toEqual([10, 20])
  ends.pass(30, true)

  expect(ends.takePassed()).toEqual([])
})

test('what had been passed before it started over is forgotten', () => {
  const ends = new ResentEnds()
  ends.restart([10])
  ends.pass(10, false)

  ends.restart([15])

  expect(ends.takePassed()).toEqual([])
  expect(ends.limit).toBe(15)
})
