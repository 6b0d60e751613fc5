import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { packageFile } from '../../src/core/package-files.ts'

test('a file of the package is found from its root', () => {
  const file = packageFile('config/schema.ts')

  expect(file).toBe(fileURLToPath(new URL('../../config/schema.ts', import.meta.url)))
  expect(existsSync(file)).toBe(true)
})
