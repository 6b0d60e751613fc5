import { expect, test } from 'vitest'
import { databaseOfPostgresUrl, postgresUrlProblem } from '../../src/core/postgres-url.ts'

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

const SEVERAL = 'names several hosts, which is not supported; name one'

test.each([
  'postgres://kora:secret@a.example.com:5432,b.example.com:5432/app',
  'postgres://kora:secret@a.example.com,b.example.com/app?sslmode=verify-full',
  'postgresql://kora:p@s,s@a.example.com:5432,b.example.com/app',
  'postgres://a.example.com,b.example.com',
  'postgres://kora:secret@/app?target_session_attrs=read-write&host=a.example.com,b.example.com',
])('%s names several hosts', (url) => {
  expect(postgresUrlProblem(url)).toBe(SEVERAL)
})

test.each([
  ['postgres://kora:pass,word@db.example.com/app', null],
  ['postgres://kora:p@ss,word@db.example.com/app', null],
  ['postgres://db.example.com/app?options=-c%20search_path=a,b', null],
  [
    'postgres://kora:1,2/secret@db.example.com/app',
    'does not parse; in a user name or password, write / ? # @ as %2F %3F %23 %40',
  ],
])('%s has a comma elsewhere', (url, problem) => {
  expect(postgresUrlProblem(url)).toBe(problem)
})
