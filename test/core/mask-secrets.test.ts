import { expect, test } from 'vitest'
import { maskSecrets } from '../../src/core/mask-secrets.ts'

test.each([
  ['postgres://kora:hunter2@db.local:5432/app', 'postgres://kora:***@db.local:5432/app'],
  ['postgres://kora:hunt@er2@db/app', 'postgres://kora:***@db/app'],
  ['got "https://kora:hunt/er2@idp/keys", and "b@c"', 'got "https://kora:***@idp/keys", and "b@c"'],
  ['postgres://kora:12/er2@db/app', 'postgres://kora:***@db/app'],
  ['host=db password=hunter2 user=kora', 'host=db password=*** user=kora'],
  ["host=db password='hunter 2' user=kora", 'host=db password=*** user=kora'],
  ['sent eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl twice', 'sent *** twice'],
  ['-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----', '***'],
])('hides the secret of %s', (text, masked) => {
  expect(maskSecrets(text)).toBe(masked)
})

test('leaves other text alone', () => {
  const text = 'ws://localhost:4567/ and http://a.b/c@d, 12:30'
  expect(maskSecrets(text)).toBe(text)
})
