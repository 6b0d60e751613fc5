import { describe, expect, test } from 'vitest'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import {
  grantScope,
  matchesFilter,
  matchesScope,
  type QuerySubset,
  type ScopeMap,
} from '../../src/core/scope.ts'
import { createView } from '../../src/core/view.ts'
import { loadVectors } from '../support/vectors.ts'

interface Matching {
  name: string
  operation: Pick<Operation, 'type' | 'collection' | 'data' | 'previousData'>
  storedRecord: FieldValues | null
  matches: boolean
}

interface ScopeVectors {
  scopeMatching: (Matching & { scope: ScopeMap | null })[]
  querySubsetMatching: (Matching & { subsets: QuerySubset[] })[]
  dedupe: { input: QuerySubset[]; output: QuerySubset[] }
  acceptedScopes: {
    authScopes: ScopeMap | null
    syncScope: ScopeMap | null
    referenceAcceptedScope: ScopeMap | null
  }[]
}

const vectors = loadVectors<ScopeVectors>('scopes')

/** The record after the operation. `previousData` is a claim of the client and grants nothing. */
function resultOf({ operation, storedRecord }: Matching): FieldValues {
  return { ...storedRecord, ...operation.data }
}

describe('scope matching', () => {
  test.each(vectors.scopeMatching)('$name', (recorded) => {
    const { operation, scope, matches } = recorded
    const record = recorded.storedRecord
    const isInside = matchesScope(resultOf(recorded), operation.collection, scope)

    if (recorded.name.startsWith('previousData claims')) {
      // Recorded from a server that trusts the claim; the stored record belongs to another tenant.
      expect(matches && !isInside).toBe(true)
      expect(matchesScope(record ?? {}, operation.collection, scope)).toBe(false)
    } else {
      expect(isInside).toBe(matches)
    }
  })
})

describe('query subsets', () => {
  test.each(vectors.querySubsetMatching)('$name', (recorded) => {
    const { operation, subsets, matches } = recorded
    const relevant = subsets.filter(({ collection }) => collection === operation.collection)
    const isKnown = operation.data !== null || recorded.storedRecord !== null

    const isInside =
      relevant.length === 0 ||
      (isKnown && relevant.some(({ where }) => matchesFilter(resultOf(recorded), where)))

    expect(isInside).toBe(matches)
  })

  test('are kept once', () => {
    expect(createView(null, vectors.dedupe.input).subsets).toEqual(vectors.dedupe.output)
  })
})

/**
 * What is granted where the recorded server goes beyond authentication, or beyond what the client
 * asked for: it adds every collection that either side names. Here authentication is an upper bound
 * and a client that names collections gets those of them that are granted.
 */
const NARROWED: { [recorded: string]: ScopeMap } = {
  '{"auth":{"todos":{"tenant":"A"}},"sync":{"notes":{}}}': {},
  '{"auth":{"todos":{"tenant":"A"},"notes":{}},"sync":{"todos":{"tenant":"A"}}}': { todos: { tenant: 'A' } },
}

describe('granted scopes', () => {
  test.each(vectors.acceptedScopes)('auth $authScopes, requested $syncScope', (recorded) => {
    const { authScopes, syncScope, referenceAcceptedScope } = recorded
    const narrowed = NARROWED[JSON.stringify({ auth: authScopes, sync: syncScope })]

    expect(grantScope(authScopes, syncScope ?? undefined)).toEqual(narrowed ?? referenceAcceptedScope)
  })
})
