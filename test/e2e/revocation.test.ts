import { expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { SECRET, secretBytes, sign } from '../support/tokens.ts'

const CONFIG = `export default {
  schema: './schema.mjs',
  auth: { mode: 'jwt', jwt: { secret: '${SECRET}' } },
}
`

function tokenOf(sub: string, issuedAtMs: number): Promise<string> {
  const iat = Math.floor(issuedAtMs / 1000)
  return sign({ sub, iat, exp: iat + 3600 }, { alg: 'HS256' }, secretBytes())
}

function closeCodes(device: {
  readonly journal: { of(kind: 'closed'): readonly { readonly code: number }[] }
}): number[] {
  return device.journal.of('closed').map(({ code }) => code)
}

test('a revoked user is cut off within seconds, also after a restart, until there is a new token', async () => {
  await using daemon = await startDaemon({ files: { 'schema.mjs': schemaFile(), 'kora.config.mjs': CONFIG } })
  const old = await tokenOf('ada', Date.now() - 5000)
  let adasToken = old
  const shared = { url: daemon.url, schema: todoSchema }
  await using ada = await openDevice({ ...shared, name: 'ada', token: () => adasToken })
  await using bob = await openDevice({
    ...shared,
    name: 'bob',
    token: await tokenOf('bob', Date.now() - 5000),
  })
  ada.insert('todos', { title: 'before' })
  await ada.synced()
  const revokedAt = Date.now()

  expect(await daemon.run(['revoke', '--user', 'ada'])).toMatchObject({ code: 0 })
  await ada.until(() => closeCodes(ada).includes(4012), 'its connection has ended', 10_000)
  await ada.until(() => ada.state !== 'streaming', 'it is not let in again')
  expect(Date.now() - revokedAt).toBeLessThan(10_000)
  expect(bob.state).toBe('streaming')

  await daemon.restart()
  await bob.streaming()
  await using thief = await openDevice({ ...shared, name: 'thief', token: old, isOnline: false })
  thief.goOnline()
  await thief.until(() => closeCodes(thief).includes(1000), 'it was refused')
  expect(thief.operations).toHaveLength(0)

  adasToken = await tokenOf('ada', Date.now())
  await ada.streaming(30_000)
  const id = ada.insert('todos', { title: 'after' })
  await bob.until(() => bob.record('todos', id) !== null, 'what was written since arrives')
}, 60_000)
