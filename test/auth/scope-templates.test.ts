import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ScopeTemplate } from '../../src/auth/scope-templates.ts'
import {
  findTemplateProblems,
  grantKindsOf,
  normalizeScopes,
  readClaim,
  resolveScopes,
  scopeFieldsOf,
  UNKNOWN_GRANT_KINDS,
} from '../../src/auth/scope-templates.ts'

const template: ScopeTemplate = {
  todos: { userId: '$claims.sub' },
  projects: { orgId: '$claims.org.id', isArchived: false },
  news: {},
}

describe('a template', () => {
  test('takes values from claims, by name and by path', async () => {
    expect(await resolveScopes(template, { sub: 'u1', org: { id: 7 } })).toEqual({
      todos: { userId: 'u1' },
      projects: { orgId: 7, isArchived: false },
      news: {},
    })
  })

  test('finds claims whose names have dots', async () => {
    const scopes = await resolveScopes(
      { todos: { org: '$claims.https://example.com/org' } },
      { 'https://example.com/org': 'acme' },
    )
    expect(scopes).toEqual({ todos: { org: 'acme' } })
  })

  test.each([
    ['missing', {}],
    ['null', { sub: null }],
    ['a list', { sub: ['u1'] }],
    ['an object', { sub: { id: 'u1' } }],
    ['not a number', { sub: Number.NaN }],
  ])('hides the collection whose claim is %s', async (_name, claims) => {
    expect(await resolveScopes(template, claims)).toEqual({ news: {} })
  })

  test.each(['constructor', 'toString', '__proto__', 'sub.length', 'org.constructor.name', 'list.0'])(
    'finds no claim "%s" that nobody wrote into the token',
    async (name) => {
      const claims = { sub: 'u1', org: {}, list: ['x'] }
      expect(await resolveScopes({ todos: { userId: `$claims.${name}` } }, claims)).toEqual({})
    },
  )

  test('a claim __proto__ that stands in the token is a claim like others, and changes nothing else', async () => {
    const claims = JSON.parse('{"__proto__": {"sub": "u1"}}')
    expect(readClaim(claims, 'sub')).toBeUndefined()
    expect(await resolveScopes({ todos: { userId: '$claims.__proto__.sub' } }, claims)).toEqual({
      todos: { userId: 'u1' },
    })
  })

  test('tells its fields, so that they can be indexed', () => {
    expect(scopeFieldsOf(template)).toEqual({
      todos: ['userId'],
      projects: ['orgId', 'isArchived'],
      news: [],
    })
    expect(scopeFieldsOf(() => ({}))).toEqual({})
    expect(scopeFieldsOf(undefined)).toEqual({})
  })

  test('with whatever claims: a collection is either hidden or filtered by every field', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom('sub', 'org', 'x', '__proto__'), fc.jsonValue()),
        async (claims) => {
          const scopes = await resolveScopes(template, claims)
          for (const [collection, filter] of Object.entries(scopes)) {
            expect(Object.keys(filter)).toEqual(Object.keys(template[collection] ?? { unknown: 1 }))
            for (const value of Object.values(filter))
              expect(['string', 'number', 'boolean']).toContain(typeof value)
          }
          expect(scopes.news).toEqual({})
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('a function', () => {
  test('gives scopes, also later', async () => {
    const scopes = await resolveScopes(async ({ sub }) => ({ todos: { userId: sub } }), { sub: 'u1' })
    expect(scopes).toEqual({ todos: { userId: 'u1' } })
  })

  test('that finds no value hides the collection', async () => {
    const scopes = await resolveScopes(({ org }) => ({ todos: { orgId: org }, news: {} }), {})
    expect(scopes).toEqual({ news: {} })
  })

  test.each([[undefined], [null], [true], ['all'], [[]], [{ todos: null }], [{ todos: 'all' }]])(
    'that returns %j fails',
    async (result) => {
      await expect(resolveScopes(() => result, {})).rejects.toThrow(TypeError)
    },
  )
})

test('scopes with null compare with null, and hostile names stay names', () => {
  const scopes = normalizeScopes(JSON.parse('{"todos":{"deletedBy":null},"__proto__":{"a":1}}'))
  expect(scopes?.todos).toEqual({ deletedBy: null })
  expect(Object.keys(scopes ?? {})).toEqual(['todos', '__proto__'])
  expect(Object.hasOwn({}, 'a')).toBe(false)
})

test('every mistake in a template is found', () => {
  expect(findTemplateProblems('all')).toEqual([{ path: '', message: 'expected an object of collections' }])
  expect(
    findTemplateProblems({
      todos: true,
      a: {
        list: ['x'],
        nested: {},
        typo: '$claim.sub',
        inside: 'org-$claims.org',
        empty: '$claims.',
        price: '5 $',
      },
    }),
  ).toEqual([
    { path: 'todos', message: 'expected an object of fields; {} shows the whole collection' },
    {
      path: 'a.list',
      message: 'expected text, a number, true, false or null; a scope matches one exact value',
    },
    {
      path: 'a.nested',
      message: 'expected text, a number, true, false or null; a scope matches one exact value',
    },
    {
      path: 'a.typo',
      message: `"$claim.sub" is not a claim reference; write '$claims.name' and nothing around it`,
    },
    {
      path: 'a.inside',
      message: `"org-$claims.org" is not a claim reference; write '$claims.name' and nothing around it`,
    },
    {
      path: 'a.empty',
      message: `"$claims." is not a claim reference; write '$claims.name' and nothing around it`,
    },
  ])
  expect(findTemplateProblems({ a: { b: '$claims.sub' } }, { allowsClaims: false })).toEqual([
    { path: 'a.b', message: '"$claims.sub" names a claim, but these clients have no token' },
  ])
})

test('a template tells what is common and what is personal by the claims that it names; of a function nothing is known', () => {
  const template = {
    todos: { org: '$claims.org', done: false },
    drafts: { by: '$claims.uid' },
    news: { state: 'published' },
    help: {},
  }

  expect(grantKindsOf(template, 'uid')).toEqual({
    common: new Set(['news', 'help']),
    personal: new Set(['drafts']),
  })
  expect(grantKindsOf(() => template, 'uid')).toBe(UNKNOWN_GRANT_KINDS)
})
