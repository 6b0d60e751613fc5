import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createAuthProvider } from '../../src/auth/create-auth-provider.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import { loadExport } from '../../src/config/load-module.ts'
import { ConfigFolder } from '../support/config-folder.ts'
import { fixedRuntime, recordingLogger } from '../support/tokens.ts'

const page = readFileSync(new URL('../../docs/auth.md', import.meta.url), 'utf8')
const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code = '']) => code)
const pem = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString()
const providerFile = `const findSession = async (token) => (token === 'good' ? { userId: 'u1' } : null)
${blocks.find((code) => code.startsWith('// auth.ts')) ?? ''}`

/** The recipes that are an `auth` option, or a part of one, as whole configurations. */
const recipes = blocks.flatMap((code) => {
  const bare = code.replace('// kora.config.ts\n', '').replaceAll(/process\.env\.\w+/g, `'${'s'.repeat(32)}'`)
  if (bare.startsWith('auth:')) return [bare]
  if (bare.startsWith('jwt:')) return [`auth: { mode: 'jwt', ${bare} }`]
  if (bare.startsWith('scopes:')) return [`auth: { mode: 'kora', secret: '${'s'.repeat(32)}', ${bare} }`]
  return []
})

test('every recipe of docs/auth.md is found here', () => {
  expect(recipes).toHaveLength(8)
})

test.each(recipes)('%s', async (recipe) => {
  using folder = new ConfigFolder({
    'kora.config.ts': `export default { ${recipe} }`,
    'keys/2025.pem': pem,
    'keys/2026.pem': pem,
    'auth.ts': providerFile,
  })
  const { values } = await loadConfig({ cwd: folder.path })
  if (values.auth.mode !== 'custom') return
  const provider = await createAuthProvider(values.auth, {
    runtime: fixedRuntime(),
    logger: recordingLogger(),
    loadProvider: async (file) => (await loadExport(file, 'provider')) as never,
  })
  expect(await provider.authenticate('good')).toEqual({ userId: 'u1', scopes: { todos: { userId: 'u1' } } })
  expect(await provider.authenticate('bad')).toBeNull()
})
