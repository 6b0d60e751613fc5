import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { STORES } from '../support/each-store.ts'
import { findRestoreProblem } from '../support/fuzz/files.ts'
import { findDecodeProblem, fuzzSchema, SessionTarget } from '../support/fuzz/frame-targets.ts'
import { parseFrames } from '../support/fuzz/frames.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { startProductionServer } from '../support/production-server.ts'
import { exchange } from '../support/raw-http.ts'

const unhandled: unknown[] = []
const note = (error: unknown): void => void unhandled.push(error)
process.on('uncaughtException', note)
process.on('unhandledRejection', note)
afterEach(() => expect(unhandled).toEqual([]))

/** Name and content of each file of a folder. */
function crashers(kind: string): [name: string, bytes: Buffer][] {
  const folder = fileURLToPath(new URL(kind, import.meta.url))
  return readdirSync(folder).map((name) => [name, readFileSync(`${folder}/${name}`)])
}

describe('a request that once ended the server', () => {
  test.each(crashers('requests'))('%s', async (_name, bytes) => {
    await using server = await startProductionServer()

    for (let round = 0; round < 5; round++) {
      await exchange(Number(new URL(server.url).port), bytes.toString('latin1'))
    }

    expect((await fetch(`${server.url}/ready`)).status).toBe(200)
  })
})

describe('a frame that was once taken for what it is not', () => {
  test.each(crashers('frames'))('%s is refused or read in one way', (_name, bytes) => {
    for (const frame of parseFrames(bytes.toString('latin1'))) expect(findDecodeProblem(frame)).toBeNull()
  })
})

describe.each(STORES)('a frame that once ended the server (%s)', (_driver, openStore) => {
  test.each(crashers('frames'))('%s ends a session at most', async (_name, bytes) => {
    await using store = await openStore({ schema: fuzzSchema })
    await using target = new SessionTarget(store)
    const frames = parseFrames(bytes.toString('latin1'))

    for (const frame of frames) expect(await target.fromStranger(frame)).toBeNull()
    expect(await target.fromMember(frames)).toBeNull()
  })
})

describe.each(STORES)('a backup that was once found to be none too late (%s)', (_driver, openStore) => {
  test.each(crashers('backups'))('%s', async (_name, bytes) => {
    await using store = await openStore()
    await appendAll(store, [new OperationAuthor('kept').insert('r1', { title: 'kept' })])

    expect(await findRestoreProblem(store, bytes)).toEqual({ problem: null, isRefused: true })
  })
})
