import type { CheckedAuthContext } from '../auth/provider.ts'
import { canonicalJson } from '../core/canonical-json.ts'
import type { ScopeMap } from '../core/scope.ts'
import { grantScope } from '../core/scope.ts'
import { createView, type View } from '../core/view.ts'
import type { HandshakeMessage } from '../protocol/messages.ts'
import type { ServerStore } from '../store/store.ts'

/** What a handshake comes to once its author is known. */
export interface Grant {
  readonly view: View
  /** Echoed only when it is what the client asked for: another one would unsettle its watermarks. */
  readonly acceptedScope: ScopeMap | undefined
  /** Identifies the granted scope, to notice when it changes behind a watermark. */
  readonly scopeKey: string
  /** Nothing is hidden from the client but what it does not want. */
  readonly isUnrestricted: boolean
}

/**
 * Decides what a client sees: its authentication is the upper bound, its wishes narrow. Fields that
 * visibility depends on are tracked before the first read.
 *
 * A wish by a field that the store does not track is left to the client, which filters what it
 * receives by the same rule.
 *
 * @see docs/protocol.md, "Scopes"
 */
export async function grantView(
  store: Pick<ServerStore, 'trackScopeField'>,
  auth: CheckedAuthContext,
  handshake: Pick<HandshakeMessage, 'syncScope' | 'syncQueries'>,
): Promise<Grant> {
  const writeScope = auth.scopes ?? null
  const granted = grantScope(writeScope, handshake.syncScope)
  const scope = granted === null ? null : await trackScope(store, granted, writeScope)
  const subsets = []
  for (const subset of handshake.syncQueries ?? []) {
    subsets.push({ ...subset, where: await trackFilter(store, subset.collection, subset.where, null) })
  }
  return {
    view: createView(scope, subsets),
    acceptedScope:
      granted !== null && canonicalJson(granted) === canonicalJson(handshake.syncScope) ? granted : undefined,
    scopeKey: createView(granted).key,
    isUnrestricted: granted === null,
  }
}

async function trackScope(
  store: Pick<ServerStore, 'trackScopeField'>,
  granted: ScopeMap,
  writeScope: ScopeMap | null,
): Promise<ScopeMap> {
  const scope: { [collection: string]: ScopeMap[string] } = Object.create(null)
  for (const [collection, filter] of Object.entries(granted)) {
    const bound = writeScope !== null && Object.hasOwn(writeScope, collection) ? writeScope[collection] : null
    scope[collection] = await trackFilter(store, collection, filter, bound ?? null)
  }
  return scope
}

async function trackFilter(
  store: Pick<ServerStore, 'trackScopeField'>,
  collection: string,
  filter: ScopeMap[string],
  bound: ScopeMap[string] | null,
): Promise<ScopeMap[string]> {
  const tracked: { [field: string]: ScopeMap[string][string] } = Object.create(null)
  const fields = Object.keys(filter)
  if (fields.length === 0) await store.trackScopeField(collection, null, { isGranted: bound !== null })
  // The fields of the authentication come first: it is the last that a lookup of views may leave out.
  fields.sort((a, b) => Number(isIn(bound, b)) - Number(isIn(bound, a)))
  for (const field of fields) {
    const isGranted = isIn(bound, field)
    const isTracked = await store.trackScopeField(collection, field, { isGranted })
    const value = filter[field]
    if ((isTracked || isGranted) && value !== undefined) tracked[field] = value
  }
  return tracked
}

function isIn(filter: ScopeMap[string] | null, field: string): boolean {
  return filter !== null && Object.hasOwn(filter, field)
}
