import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { summarizeProfile } from '../../bench/harness/profile-summary.ts'

const PUSH = ['push', 'file:///app/src/sync/ingest/push.ts'] as const
const APPEND = ['append', 'file:///app/src/store/sqlite/sqlite-log.ts'] as const
const QUOTE = ['quote', 'file:///app/src/core/json-text.ts'] as const

/** A profile in which each stack, from what called first, took so many milliseconds. */
function profileOf(
  stacks: readonly { readonly calls: readonly (readonly [string, string])[]; readonly ms: number }[],
) {
  const root = { id: 1, callFrame: frame('(root)', ''), children: [] as number[] }
  const nodes = [root]
  const samples: number[] = []
  for (const { calls } of stacks) {
    let caller = root
    for (const [name, url] of calls) {
      const node = { id: nodes.length + 1, callFrame: frame(name, url), children: [] as number[] }
      caller.children.push(node.id)
      nodes.push(node)
      caller = node
    }
    samples.push(caller.id)
  }
  return { nodes, samples, timeDeltas: stacks.map(({ ms }) => ms * 1000) }
}

function frame(functionName: string, url: string) {
  return { functionName, url, lineNumber: 0, columnNumber: 0 }
}

test('a function counts for the stage of the nearest source that called it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'kora-profile-'))
  const file = join(directory, 'one.cpuprofile')
  try {
    const profile = profileOf([
      { calls: [PUSH, ['parse', 'file:///app/src/protocol/json-codec.ts'], QUOTE], ms: 4 },
      { calls: [PUSH, APPEND, ['run', '']], ms: 3 },
      { calls: [PUSH, APPEND, ['exec', '']], ms: 2 },
      { calls: [['(garbage collector)', '']], ms: 1 },
      { calls: [['(idle)', '']], ms: 90 },
      {
        calls: [
          ['post', 'node:inspector'],
          ['dispatch', ''],
        ],
        ms: 50,
      },
    ])
    writeFileSync(file, JSON.stringify(profile))

    const { stages, functions } = summarizeProfile(file)

    expect(stages).toEqual([
      { name: 'read and write messages', ms: 4 },
      { name: 'statements (SQLite)', ms: 3 },
      { name: 'begin and commit (SQLite)', ms: 2 },
      { name: 'collect garbage', ms: 1 },
    ])
    expect(functions[0]).toEqual({ name: 'quote src/core/json-text.ts', ms: 4 })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
