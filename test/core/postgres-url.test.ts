import { expect, test } from 'vitest'
import { databaseOfPostgresUrl } from '../../src/core/postgres-url.ts'

test.each([
  ['postgres://kora:secret@db.example.com:5433/app', 'db.example.com:5433/app'],
  ['postgresql://db.example.com/app?sslmode=require', 'db.example.com/app'],
  ['postgres://kora:secret@/app', 'localhost/app'],
  ['postgres:///app', 'localhost/app'],
])('of %s messages name %s', (url, name) => {
  expect(databaseOfPostgresUrl(url)).toBe(name)
})

test.each([
  [
    'postgres://kora:12/secret@db.example.com/app',
    'a password with a "/" behind digits, which pass for a port',
  ],
  ['postgres://kora:secret#2@db.example.com/app', 'a password with a "#"'],
  ['host=db.example.com password=secret', 'no URL'],
])('%s has no name: %s', (url) => {
  expect(databaseOfPostgresUrl(url)).toBeNull()
})
