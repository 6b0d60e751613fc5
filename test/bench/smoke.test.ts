import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { scenarios } from '../../bench/scenarios.ts'

const RUN = fileURLToPath(new URL('../../bench/run.ts', import.meta.url))

interface Results {
  readonly date: string
  readonly node: string
  readonly cpu: { readonly model: string; readonly count: number }
  readonly rows: readonly {
    readonly scenario: string
    readonly metric: string
    readonly values: { readonly [variant: string]: { readonly rounds: readonly number[] } }
  }[]
}

test('every benchmark runs, and what it counts is right', { timeout: 300_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kora-bench-smoke-'))
  const json = join(directory, 'results.json')
  try {
    // A wrong count, a gap or a duplicate in what clients receive ends the run with an error.
    await promisify(execFile)(process.execPath, ['--import', 'tsx', RUN, '--smoke', '--json', json])

    const results = JSON.parse(readFileSync(json, 'utf8')) as Results
    expect(results).toMatchObject({
      node: process.versions.node,
      cpu: { model: expect.any(String), count: expect.any(Number) },
    })
    expect(Date.parse(results.date)).not.toBeNaN()
    const measured = results.rows.map(({ scenario, metric }) => `${scenario} ${metric}`)
    expect(measured).toEqual(
      scenarios.flatMap(({ name, metrics }) => metrics.map(({ label }) => `${name} ${label}`)),
    )
    for (const { values } of results.rows) {
      // JSON has null where there is no number.
      for (const { rounds } of Object.values(values)) expect(rounds).toEqual([expect.any(Number)])
      expect(values).not.toEqual({})
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
