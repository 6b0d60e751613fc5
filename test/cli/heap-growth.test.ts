import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const MODULE = fileURLToPath(new URL('../../src/cli/heap-growth.ts', import.meta.url))

/**
 * Some 55 MB are alive at any time, 20 of them but for as long as it takes to become old. Prints the most
 * that the old part of the heap held, in MB. Left to itself V8 lets it grow to some 250.
 */
const CHURN = `
import { getHeapSpaceStatistics } from 'node:v8'
import { boundHeapGrowth } from ${JSON.stringify(MODULE)}

boundHeapGrowth()
const alive = Array.from({ length: 300_000 }, (_, index) => ({ index, text: [index, index + 1] }))
const passing = Array.from({ length: 200_000 })
let peak = 0
for (let count = 0; count < 5_000_000; count++) {
  passing[count % passing.length] = { count, text: [count, alive.length, count] }
  if (count % 10_000 !== 0) continue
  const old = getHeapSpaceStatistics().find((space) => space.space_name === 'old_space')
  peak = Math.max(peak, old.space_used_size)
}
console.log(Math.round(peak / 1e6))
`

test('old garbage is collected before it is much more than what is alive', async () => {
  const args = ['--import', 'tsx', '--input-type=module', '-e', CHURN]
  const { stdout } = await run(process.execPath, args)

  expect(Number(stdout)).toBeGreaterThan(50)
  expect(Number(stdout)).toBeLessThan(190)
})
