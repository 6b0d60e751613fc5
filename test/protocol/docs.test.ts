import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { REFUSAL_CODES } from '../../src/core/refusal.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import { CONNECTION_ERRORS } from '../../src/protocol/connection-errors.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const page = readFileSync(join(ROOT, 'docs/protocol.md'), 'utf8')

test('docs/protocol.md lists every refusal with its flag, and no other', () => {
  const documented = [...section('What the server refuses').matchAll(/^\| `([A-Z_]+)` \| (yes|no) \|/gm)]

  expect(Object.fromEntries(documented.map(([, code, flag]) => [code, flag === 'yes']))).toEqual(
    Object.fromEntries(Object.entries(REFUSAL_CODES).map(([code, { retriable }]) => [code, retriable])),
  )
})

test('docs/protocol.md lists every reason for closing with its close code, and no other', () => {
  const documented = [...section('Closing').matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (yes|no) \|/gm)]

  expect(
    Object.fromEntries(
      documented.map(([, code, closeCode, flag]) => [code, [Number(closeCode), flag === 'yes']]),
    ),
  ).toEqual(
    Object.fromEntries(
      Object.entries(CONNECTION_ERRORS).map(([code, { closeCode, retriable }]) => [
        code,
        [closeCode, retriable],
      ]),
    ),
  )
})

test('docs/protocol.md has the sections that the source refers to', () => {
  const headings = [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading)
  const referred = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [
      ...readFileSync(join(ROOT, 'src', file), 'utf8').matchAll(/docs\/protocol\.md, "([^"]+)"/g),
    ])
    .map(([, heading]) => heading)

  expect(referred.filter((heading) => !headings.includes(heading))).toEqual([])
})

test('docs/protocol.md states the limits that hold', () => {
  const { maxFrameBytes, maxVectorEntries, maxContainers } = DEFAULT_DECODE_LIMITS
  const spaced = (value: number) => String(value).replace(/\B(?=(\d{3})+$)/g, ' ')

  expect(section('Limits')).toContain(`${maxFrameBytes / 1024 ** 2} MiB`)
  expect(section('Limits')).toContain(spaced(maxVectorEntries))
  expect(section('Limits')).toContain(spaced(maxContainers))
})

/** The text below a heading, up to the next one of its level. */
function section(heading: string): string {
  return page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
}
