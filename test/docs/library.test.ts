import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('docs/library.md names everything that the package exports', () => {
  const page = read('docs/library.md')
  const exported = [...read('src/index.ts').matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(
    ([, names = '']) =>
      names
        .split(',')
        .map((name) => name.trim().replace(/^type /, ''))
        .filter((name) => name !== ''),
  )

  expect(exported.length).toBeGreaterThan(50)
  expect(exported.filter((name) => !new RegExp(`\\b${name}\\b`).test(page))).toEqual([])
})
