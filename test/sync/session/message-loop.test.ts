import { expect, test } from 'vitest'
import { MessageLoop } from '../../../src/sync/session/message-loop.ts'
import { settle } from '../../support/simulated-runtime.ts'

interface Handled {
  readonly loop: MessageLoop
  readonly handled: unknown[]
  readonly errors: unknown[]
  /** Ends the wait of the message that is being handled. */
  goOn(): void
}

/** Messages that begin with "slow" are waited for; those that begin with "bad" cannot be handled. */
function openLoop(): Handled {
  const handled: unknown[] = []
  const errors: unknown[] = []
  let goOn = (): void => {}
  const handle = (message: unknown): Promise<void> | undefined => {
    handled.push(message)
    if (String(message).startsWith('bad')) throw new Error('bad')
    if (!String(message).startsWith('slow')) return undefined
    return new Promise((resolve) => {
      goOn = resolve
    })
  }
  const loop = new MessageLoop({ handle, onHandlingFailed: (error) => errors.push(error) }, {})
  return { loop, handled, errors, goOn: () => goOn() }
}

test('the first message is handled at once', () => {
  const { loop, handled } = openLoop()

  loop.accept('a')

  expect(handled).toEqual(['a'])
  expect(loop).toMatchObject({ isBusy: false, isEmpty: true })
})

test('what comes meanwhile is handled in order of arrival, one after the other', async () => {
  const { loop, handled, goOn } = openLoop()
  for (const message of ['slow 1', 'slow 2', 'a']) loop.accept(message)
  expect(handled).toEqual(['slow 1'])
  expect(loop).toMatchObject({ isBusy: true, isEmpty: false })

  goOn()
  await settle()
  expect(handled).toEqual(['slow 1', 'slow 2'])
  goOn()
  await loop.settled()

  expect(handled).toEqual(['slow 1', 'slow 2', 'a'])
  expect(loop).toMatchObject({ isBusy: false, isEmpty: true })
})

test('what has been taken out is not handled', async () => {
  const { loop, handled, goOn } = openLoop()
  for (const message of ['slow', 'a', 'b']) loop.accept(message)

  expect(loop.drain()).toEqual(['a', 'b'])
  goOn()
  await loop.settled()

  expect(handled).toEqual(['slow'])
})

test('one that cannot be handled is told, and none after it is handled', async () => {
  const { loop, handled, errors, goOn } = openLoop()
  for (const message of ['slow', 'bad', 'a']) loop.accept(message)

  goOn()
  await loop.settled()

  expect(handled).toEqual(['slow', 'bad'])
  expect(errors).toEqual([new Error('bad')])
})
