import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { clientConfigOf } from '../../../src/store/postgres/client-config.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { openTestDatabase, PostgresServer } from '../../support/postgres.ts'

/** A certificate for a name, signed by itself, that the database's user may read. */
function issue(directory: string, name: string) {
  const [key, certificate] = [join(directory, `${name}.key`), join(directory, `${name}.pem`)]
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const subject = ['-days', '1', '-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`]
  execFileSync('openssl', [...args, ...subject, '-keyout', key, '-out', certificate], { stdio: 'pipe' })
  if (userInfo().uid === 0) {
    const uid = Number(execFileSync('id', ['-u', 'postgres']))
    chownSync(key, uid, -1)
  }
  chmodSync(key, 0o600)
  return { key, certificate }
}

test('a connection over TLS is made to whom the certificate names, and to nobody else', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kora-postgres-tls-'))
  chmodSync(directory, 0o755)
  const own = issue(directory, 'localhost')
  const other = issue(directory, 'other.example')
  await using server = await PostgresServer.start([
    'ssl=on',
    `ssl_cert_file=${own.certificate}`,
    `ssl_key_file=${own.key}`,
  ])
  await using database = await server.openDatabase()
  const open = async (host: string, parameters: { readonly [name: string]: string }) => {
    const url = new URL(database.connectionString)
    url.hostname = host
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
    const store = await createPostgresServerStore({ connectionString: url.href })
    const [row] = await database.query(
      "SELECT bool_and(ssl) AS all FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'kora-server%'",
    )
    await store.close()
    return row?.all
  }
  const refusal = async (host: string, parameters: { readonly [name: string]: string }) =>
    (await open(host, parameters).catch((error: Error) => error)) as Error & { code: string }

  expect(await open('localhost', { sslmode: 'verify-full', sslrootcert: own.certificate })).toBe(true)

  const untrusted = await refusal('localhost', { sslmode: 'verify-full' })
  expect(untrusted).toMatchObject({ code: 'STORE_OPEN_FAILED' })
  expect(untrusted.message).toMatch(/certificate is not trusted \(self-signed certificate\).*sslrootcert/)
  const otherAuthority = await refusal('localhost', {
    sslmode: 'verify-full',
    sslrootcert: other.certificate,
  })
  expect(otherAuthority.message).toMatch(/certificate is not trusted/)
  const otherName = await refusal('127.0.0.1', { sslmode: 'verify-full', sslrootcert: own.certificate })
  expect(otherName.message).toMatch(/certificate is for another name/)
  const noFile = await refusal('localhost', { sslmode: 'verify-full', sslrootcert: '/nowhere/ca.pem' })
  expect(noFile.message).toMatch(/cannot be read: \/nowhere\/ca\.pem/)
  for (const { message } of [untrusted, otherAuthority, otherName, noFile])
    expect(message).not.toContain('p@ss')
  rmSync(directory, { recursive: true, force: true })
}, 90_000)

test.each(['prefer', 'require', 'verify-ca'])(
  'sslmode=%s asks for all that verify-full does',
  async (mode) => {
    await using database = await openTestDatabase()
    const warnings: string[] = []
    const note = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', note)
    await using _ = { [Symbol.asyncDispose]: async () => void process.off('warning', note) }
    const open = (parameters: string) =>
      createPostgresServerStore({ connectionString: `${database.connectionString}?${parameters}` })

    for (const parameters of [`sslmode=${mode}`, `application_name=a&sslmode=${mode}&keepalives=1`]) {
      await expect(open(parameters)).rejects.toMatchObject({
        code: 'STORE_OPEN_FAILED',
        message: expect.stringContaining('does not support SSL'),
      })
    }
    await new Promise((resolve) => setImmediate(resolve)) // warnings are told by then

    expect(warnings).toEqual([])
  },
  60_000,
)

test('a mode of libpq stays one where that is asked for', () => {
  const modeOf = (parameters: string): string => {
    const connectionString = `postgres://kora:secret@localhost/app?${parameters}`
    return clientConfigOf({ connectionString }, 0).connectionString.split('?')[1] ?? ''
  }

  expect(modeOf('sslmode=require&uselibpqcompat=true')).toBe('sslmode=require&uselibpqcompat=true')
  expect(modeOf('sslmode=require&uselibpqcompat=false')).toBe('sslmode=verify-full&uselibpqcompat=false')
  for (const mode of ['disable', 'no-verify', 'verify-full']) {
    expect(modeOf(`sslmode=${mode}`)).toBe(`sslmode=${mode}`)
  }
})

test('a database without TLS is not spoken to where TLS is asked for', async () => {
  await using database = await openTestDatabase()
  const opening = createPostgresServerStore({
    connectionString: `${database.connectionString}?sslmode=verify-full`,
  })
  await expect(opening).rejects.toMatchObject({
    code: 'STORE_OPEN_FAILED',
    message: expect.stringContaining('does not support SSL'),
  })
}, 60_000)
