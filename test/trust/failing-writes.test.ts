import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { DiskControl, DiskShim, type FailingCall, hasDiskShim } from '../support/disk/disk-shim.ts'
import type { WriteFault, WriteFaultVerdict } from '../support/disk/write-faults.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const SCRIPT = fileURLToPath(new URL('../support/disk/write-faults.ts', import.meta.url))
const [EIO, ENOSPC] = [5, 28]
const WRITES = sized(12, Number.POSITIVE_INFINITY)
const random = randomOf(seedOf('failing writes'))

/** Runs the script under the shim: 200 operations for each fault. */
async function tryFaults(shim: DiskShim, faults: readonly WriteFault[]): Promise<WriteFaultVerdict[]> {
  const directory = join(shim.directory, 'stores')
  const path = join(shim.directory, 'control')
  using control = new DiskControl(path, { isNew: true })
  void control
  const order = JSON.stringify({ directory, control: path, faults })
  const child = spawn(process.execPath, ['--import', 'tsx', SCRIPT, order], {
    env: { ...process.env, ...shim.failing(directory, path) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (data) => {
    output += String(data)
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  const verdicts = output
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as WriteFaultVerdict)
  expect({ code, verdicts: verdicts.length }).toEqual({ code: 0, verdicts: faults.length })
  return verdicts
}

/** Every one of `count` calls, or as many of them, at random. */
function faultsOf(call: FailingCall, count: number, wanted: number): WriteFault[] {
  const all = Array.from({ length: count }, (_, index) => ({
    call,
    at: index + 1,
    errno: index % 2 === 0 ? EIO : ENOSPC,
  }))
  while (all.length > wanted) all.splice(Math.floor(random() * all.length), 1)
  return all
}

describe.runIf(hasDiskShim('failing writes'))('a write or a sync that fails', () => {
  test(
    'is never acknowledged, is told, and the next start is clean',
    async () => {
      using shim = new DiskShim()
      const [sound] = await tryFaults(shim, [{ call: 'write', at: 0, errno: 0 }])
      expect(sound).toMatchObject({ failed: 0, told: [], problems: [] })

      const verdicts = await tryFaults(shim, [
        ...faultsOf('write', sound?.writes ?? 0, WRITES),
        // Of the first operations, whose node and collection are new: names of them may be kept in memory only.
        { call: 'write', at: (sound?.writesToOpen ?? 0) + 1, errno: EIO },
        { call: 'sync', at: 1, errno: EIO }, // keeps a new file from its write-ahead log
        ...faultsOf('sync', sound?.syncs ?? 0, Number.POSITIVE_INFINITY),
      ])

      const hit = verdicts.filter(({ failed }) => failed > 0)
      reportFigures('failing writes', {
        'writes of the script': sound?.writes ?? 0,
        'syncs of the script': sound?.syncs ?? 0,
        'calls made to fail': hit.length,
        'told by name': hit.filter(({ told }) => told.length > 0).length,
      })
      expect(verdicts.filter(({ problems }) => problems.length > 0)).toEqual([])
      // Without a write-ahead log each commit syncs several times, and writers and readers block each other.
      expect(verdicts.filter(({ syncs }) => syncs > 2 * (sound?.syncs ?? 0))).toEqual([])
      expect(hit.length).toBeGreaterThan(verdicts.length / 2)
      const codes = new Set(hit.flatMap(({ told }) => told))
      expect([...codes].filter((code) => !['STORE_UNAVAILABLE', 'STORE_OPEN_FAILED'].includes(code))).toEqual(
        [],
      )
      expect(codes).toContain('STORE_UNAVAILABLE')
    },
    timeoutMs(300_000),
  )
})
