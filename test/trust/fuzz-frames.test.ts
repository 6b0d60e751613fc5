import { afterEach, expect, test } from 'vitest'
import type { Frame } from '../../src/protocol/frame.ts'
import { describeEachStore } from '../support/each-store.ts'
import { findDecodeProblem, fuzzSchema, SessionTarget } from '../support/fuzz/frame-targets.ts'
import { formatFrames, mutatedBatch, mutatedFrame } from '../support/fuzz/frames.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { seedOf } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const DECODED = sized(100_000, 1_000_000)
/** On each of three stores. */
const STRANGERS = sized(300, 20_000)
const MEMBERS = sized(2000, 100_000)
const BURST = 4

const unhandled: unknown[] = []
const note = (error: unknown): void => void unhandled.push(error)
process.on('uncaughtException', note)
process.on('unhandledRejection', note)
afterEach(() => expect(unhandled).toEqual([]))

test(
  'a mutated frame is refused or read in one way',
  () => {
    const seed = seedOf('mutated frames, decoded')
    const mutator = new Mutator(seed)
    for (let count = 0; count < DECODED; count++) {
      const frame = mutatedFrame(mutator)
      const problem = findDecodeProblem(frame)
      if (problem !== null) expect.fail(`${problem}${forFile([frame])}`)
    }
    reportFigures('mutated frames, decoded', { frames: DECODED, crashes: 0, seed })
  },
  timeoutMs(60_000),
)

describeEachStore('mutated frames', (openStore) => {
  test(
    'end a session at most, before and after authentication',
    async () => {
      const seed = seedOf('mutated frames, in sessions')
      const mutator = new Mutator(seed)
      await using store = await openStore({ schema: fuzzSchema })
      await using target = new SessionTarget(store)
      for (let count = 0; count < STRANGERS; count++) {
        const frame = mutatedFrame(mutator)
        const crash = await target.fromStranger(frame)
        if (crash !== null) expect.fail(`${crash}${forFile([frame])}`)
      }
      for (let count = 0; count < MEMBERS; count += BURST) {
        const frames = Array.from({ length: BURST }, () =>
          mutator.random() < 0.8 ? mutatedBatch(mutator) : mutatedFrame(mutator),
        )
        const crash = await target.fromMember(frames)
        if (crash !== null) expect.fail(`${crash}${forFile(frames)}`)
      }
      const stored = await store.getOperationCount()
      expect(stored).toBeGreaterThan(MEMBERS / 20) // or nothing has come far
      reportFigures('mutated frames, in sessions', {
        frames: STRANGERS + MEMBERS,
        'sessions ended': target.memberCount,
        'operations stored': stored,
        crashes: 0,
        seed,
      })
    },
    timeoutMs(120_000),
  )
})

function forFile(frames: readonly Frame[]): string {
  return `\nFor a file of test/crashers/frames:\n${formatFrames(frames)}`
}
