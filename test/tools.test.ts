import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { hasDiskShim } from './support/disk/disk-shim.ts'
import { canMount } from './support/disk/small-disk.ts'
import { findChromium } from './support/find-chromium.ts'
import { canIsolate } from './support/isolated-host.ts'

const ROOT = fileURLToPath(new URL('.', import.meta.url))

/** Set by the workflows: no test may be skipped for want of a tool. */
const IS_STRICT = process.env.KORA_GATE === '1'
const answers = (command: string, ...args: string[]) => spawnSync(command, args).status === 0

/** By the conditions under which tests run, as the files write them: what has to be there. */
const TOOLS: { readonly [condition: string]: () => boolean } = {
  IS_LINUX: () => process.platform === 'linux',
  'process.getuid?.() === 0': () => process.getuid?.() === 0,
  canIsolate: () => canIsolate,
  'canMount(…)': () => canMount('tools'),
  mayMount: () => canMount('tools'),
  'hasDiskShim(…)': () => hasDiskShim('tools'),
  hasStrace: () => answers('strace', '-V'),
  hasSystemdAnalyze: () => answers('systemd-analyze', '--version'),
  hasLibrary: () => ['x86_64', 'aarch64'].some((cpu) => existsSync(libfaketime(cpu))),
  'canUnshare()': () => answers('unshare', '--pid', '--fork', 'true') && answers('pgrep', '-V'),
  '!hasChromium': () => findChromium() !== null,
}

/** Conditions that are no tools: the size of a run, or what is asked for by hand. */
const OTHERS = new Set([
  'IS_FULL',
  'HAS_BOTH', // scripts/try-upgrade.sh
  'SIMULATION_SEED !== undefined',
  'SIMULATION_SEED === undefined',
  "page === 'docs/auth.md'",
])

function libfaketime(cpu: string): string {
  return `/usr/lib/${cpu}-linux-gnu/faketime/libfaketime.so.1`
}

/** Each condition of each test that may be skipped, its arguments left out. */
function conditionsOfTests(): ReadonlySet<string> {
  const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  const sources = files
    .filter((file) => file.endsWith('.test.ts') && file !== 'tools.test.ts')
    .map((file) => readFileSync(`${ROOT}/${file}`, 'utf8'))
  const conditions = sources.flatMap((source) =>
    [...source.matchAll(/\.(?:runIf|skipIf)\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)/g)].flatMap(
      ([, condition = '']) => condition.split('&&'),
    ),
  )
  return new Set(conditions.map((condition) => condition.trim().replace(/\('.*'\)$/, '(…)')))
}

test('every test that may be skipped says for want of what', () => {
  const conditions = conditionsOfTests()

  expect([...conditions].filter((each) => !(each in TOOLS) && !OTHERS.has(each))).toEqual([])
  expect(Object.keys(TOOLS).filter((each) => !conditions.has(each))).toEqual([])
})

describe.runIf(IS_STRICT)('at the gate', () => {
  test.each(Object.keys(TOOLS))('tests that need %s are not skipped', (condition) => {
    expect(TOOLS[condition]?.()).toBe(true)
  })
})
