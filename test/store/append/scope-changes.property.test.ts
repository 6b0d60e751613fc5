import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ScopeChange } from '../../../src/core/view.ts'
import { parseScopeChanges, serializeScopeChanges } from '../../../src/store/append/scope-changes.ts'

const key = fc.option(fc.constantFrom('"a"', '"b"', '1', 'true', 'null'), { nil: undefined })
const change: fc.Arbitrary<ScopeChange> = fc
  .record({ field: fc.string(), after: key, before: fc.option(key, { nil: null }), isMisnamed: fc.boolean() })
  .map(({ field, after, before, isMisnamed }) => ({
    field,
    after,
    ...(before !== null && before !== after && { before: { key: before } }),
    ...(isMisnamed && after !== undefined && { isMisnamed }),
  }))
const changes = fc.uniqueArray(change, { selector: ({ field }) => field, maxLength: 4 })

test('what an operation did to scopes comes back from the log as it was noted', () => {
  fc.assert(
    fc.property(changes, (noted) => {
      const read = parseScopeChanges(serializeScopeChanges(noted))

      const byField = (list: readonly ScopeChange[]) => new Map(list.map((item) => [item.field, item]))
      expect(byField(read)).toStrictEqual(byField(noted)) // names that are numbers come first from JSON
    }),
  )
})
