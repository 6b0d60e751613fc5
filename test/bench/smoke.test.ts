import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const RUN = fileURLToPath(new URL('../../bench/run.mjs', import.meta.url))

test('every benchmark runs, and what it counts is right', { timeout: 300_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kora-bench-smoke-'))
  const json = join(directory, 'results.json')
  try {
    // A wrong count, a gap or a duplicate in what clients receive ends the run with an error.
    await promisify(execFile)(process.execPath, [RUN, '--smoke', '--json', json])

    const { rows } = JSON.parse(readFileSync(json, 'utf8')) as {
      rows: { scenario: string; values: { [variant: string]: { median: number } } }[]
    }
    expect(rows.map(({ scenario }) => scenario)).toEqual(expect.arrayContaining(['P1', 'P2', 'P3', 'P5']))
    expect(rows.map(({ scenario }) => scenario)).toEqual(
      expect.arrayContaining(['F1', 'F2', 'F3', 'F4', 'F5', 'F6', 'F7', 'F8']),
    )
    for (const { values } of rows) {
      for (const { median } of Object.values(values)) expect(median).not.toBeNaN()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
