import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** Runs the program in a process that takes its Node for another one. */
function runOn(version: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const disguise = `Object.defineProperty(process.versions, 'node', { value: '${version}' })`
  const args = [
    '--import',
    `data:text/javascript,${encodeURIComponent(disguise)}`,
    root('bin/kora-server.js'),
  ]
  return new Promise((resolve) => {
    execFile(process.execPath, [...args, '--version'], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, stdout, stderr }),
    )
  })
}

test.each(['18.20.8', '20.18.3'])('a Node that is too old is named: %s', async (version) => {
  expect(await runOn(version)).toEqual({
    code: 1,
    stdout: '',
    stderr: `error: kora-server needs Node.js 20.19 or later; this is ${version}. Install a later one.\n`,
  })
})

test.each(['20.19.0', '22.0.0'])('the oldest Node that is supported runs it: %s', async (version) => {
  expect(await runOn(version)).toMatchObject({ code: 0, stderr: '' })
})

test('the oldest Node is that of the package', () => {
  expect(JSON.parse(readFileSync(root('package.json'), 'utf8'))).toMatchObject({
    engines: { node: '>=20.19' },
  })
})
