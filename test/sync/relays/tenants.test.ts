import { expect, test } from 'vitest'
import { grantKindsBy } from '../../../src/auth/explaining-provider.ts'
import { JwtAuthProvider } from '../../../src/auth/jwt-provider.ts'
import { MixedAuthProvider } from '../../../src/auth/mixed-auth-provider.ts'
import { grantKindsOf } from '../../../src/auth/scope-templates.ts'
import { Tenants } from '../../../src/sync/relays/tenants.ts'

const TEMPLATE = {
  docs: { tenant: '$claims.tenant' },
  drafts: { author: '$claims.sub' },
  news: { region: '$claims.region' },
}
const NEWS = ['news', { region: 'eu' }] as const
const verifier = {
  verify: async () => ({ isAccepted: true as const, claims: {}, endsAt: Number.MAX_SAFE_INTEGER }),
}

test.each([
  ['a number', 7],
  ['a text', '7'],
])(
  'tenant 7 of user 7 is not a part of that user alone, where it is %s and a template tells',
  (_, tenant) => {
    const tenants = new Tenants(grantKindsOf(TEMPLATE, 'sub'))
    const granted = { docs: { tenant }, drafts: { author: 7 }, news: { region: 'eu' } }

    expect(tenants.sharedPartsOf({ userId: '7', granted }).map(([name]) => name)).toEqual(['docs', 'news'])
    expect(tenants.partsToAgree({ userId: '7', granted }, { beside: NEWS }).map(([name]) => name)).toEqual([
      'docs',
    ])
  },
)

test('without a template a part is personal whose value is the id of the user', () => {
  const tenants = new Tenants()
  const granted = { docs: { tenant: 7 }, drafts: { author: '7' }, news: { region: 'eu' } }

  expect(tenants.sharedPartsOf({ userId: '7', granted }).map(([name]) => name)).toEqual(['docs', 'news'])
})

test('a class of the app that decides by itself is not believed to follow its template', () => {
  class OwnProvider extends JwtAuthProvider {
    override async authenticate() {
      return { userId: 'ada', scopes: { docs: { tenant: 'a' } } }
    }
  }
  const options = { verifier, scopes: { docs: {} } }
  const jwt = new JwtAuthProvider(options)

  expect([...grantKindsBy(jwt).common]).toEqual(['docs'])
  expect([...grantKindsBy(new MixedAuthProvider({ primary: jwt })).common]).toEqual(['docs'])
  expect([...grantKindsBy(new OwnProvider(options)).common]).toEqual([])
  expect([...grantKindsBy(new MixedAuthProvider({ primary: new OwnProvider(options) })).common]).toEqual([])
})
