import { execFileSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'

const NOBODY = 65534
const LIBRARY = new URL('../../../dist/index.js', import.meta.url).href

/** What a process of another user, which has loaded everything before, is told. */
function openAsNobody(options: object): string {
  const script = `
    import { createSqliteServerStore } from ${JSON.stringify(LIBRARY)}
    await createSqliteServerStore({ filename: ':memory:' }).close()
    process.setgid(${NOBODY})
    process.setuid(${NOBODY})
    try {
      await createSqliteServerStore(${JSON.stringify(options)}).close()
      console.log('opened')
    } catch (error) {
      console.log(error.message)
    }`
  return execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim()
}

test.runIf(process.getuid?.() === 0)(
  'whoever only reads a file of another user lacks the right to read it',
  async () => {
    using directory = temporaryDirectory()
    const filename = join(directory.path, 'app.db')
    await createSqliteServerStore({ filename }).close()
    chmodSync(directory.path, 0o777)
    chmodSync(filename, 0o600)

    expect(openAsNobody({ filename, readOnly: true })).toBe(
      `Cannot open ${filename}: ${filename} cannot be read by this user (${NOBODY}). Change its owner, or run as that user.`,
    )
    expect(openAsNobody({ filename })).toContain('cannot be written by this user')
    chmodSync(filename, 0o644)
    expect(openAsNobody({ filename, readOnly: true })).toBe('opened')
  },
)
