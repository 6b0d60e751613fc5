import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const MODULE = fileURLToPath(new URL('../../src/cli/heap-growth.ts', import.meta.url))

/**
 * Lives of many turns of the event loop, as a server has. Some 55 MB are alive at any time, 20 of them but for as long as it takes to become old. Prints the most
 * that the old part of the heap held, in MB. Left to itself V8 lets it grow to some 250.
 */
const CHURN = `
import { getHeapSpaceStatistics } from 'node:v8'
import { boundHeapGrowth } from ${JSON.stringify(MODULE)}

boundHeapGrowth(() => 0)
const alive = Array.from({ length: 300_000 }, (_, index) => ({ index, text: [index, index + 1] }))
const passing = Array.from({ length: 200_000 })
let peak = 0
for (let count = 0; count < 5_000_000; count++) {
  passing[count % passing.length] = { count, text: [count, alive.length, count] }
  if (count % 10_000 !== 0) continue
  await new Promise((resolve) => setImmediate(resolve))
  const old = getHeapSpaceStatistics().find((space) => space.space_name === 'old_space')
  peak = Math.max(peak, old.space_used_size)
}
console.log(Math.round(peak / 1e6))
`

/**
 * Lives of some thousand turns each: V8 doubles the young heap to 32 MB. Prints its size at the end, in MiB.
 *
 * @param operations how many have come, by the count of what has been made
 */
const young = (operations: string): string => `
import { getHeapSpaceStatistics } from 'node:v8'
import { boundHeapGrowth } from ${JSON.stringify(MODULE)}

let count = 0
boundHeapGrowth(() => ${operations})
const alive = Array.from({ length: 100_000 })
for (let turn = 0; turn < 500; turn++) {
  for (let i = 0; i < 3000; i++) alive[count++ % alive.length] = { count, text: [count, i] }
  await new Promise((resolve) => setImmediate(resolve))
}
const young = getHeapSpaceStatistics().find((space) => space.space_name === 'new_space')
console.log(young.space_size / 2 ** 20)
`

async function youngHeapWith(nodeOptions: string, operations = '0'): Promise<number> {
  const args = ['--import', 'tsx', '--input-type=module', '-e', young(operations)]
  const { stdout } = await run(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: nodeOptions },
  })
  return Number(stdout)
}

test('the young heap stays small', async () => {
  expect(await youngHeapWith('')).toBeLessThanOrEqual(16) // 8, or twice that where it doubled before it was looked at
})

test('of a server that operations go through it may be twice as large', async () => {
  const size = await youngHeapWith('', 'count / 20')
  expect(size).toBeGreaterThanOrEqual(16)
  expect(size).toBeLessThanOrEqual(32) // 16, or twice that
})

test('the young heap may be as large as the operator says', async () => {
  expect(await youngHeapWith('--max-semi-space-size=32')).toBeGreaterThanOrEqual(32)
})

test('old garbage is collected before it is much more than what is alive', async () => {
  const args = ['--import', 'tsx', '--input-type=module', '-e', CHURN]
  const { stdout } = await run(process.execPath, args)

  expect(Number(stdout)).toBeGreaterThan(50)
  expect(Number(stdout)).toBeLessThan(190)
})
