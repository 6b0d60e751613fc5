import type { CheckedAuthContext } from '../../auth/provider.ts'
import { canonicalJson } from '../../core/canonical-json.ts'
import type { ScopeMap } from '../../core/scope.ts'
import { grantScope } from '../../core/scope.ts'
import { createView, type View } from '../../core/view.ts'
import type { HandshakeMessage } from '../../protocol/messages.ts'
import type { ServerStore } from '../../store/store.ts'

/** What a handshake grants once its author is known. */
export interface Grant {
  readonly view: View
  /** Echoed only when it is what the client asked for: another one would unsettle its watermarks. */
  readonly acceptedScope: ScopeMap | undefined
  /** Identifies the granted scope, to notice when it changes behind a watermark. */
  readonly scopeKey: string
  /** Nothing is hidden from the client except by its own wishes. */
  readonly isUnrestricted: boolean
}

/** The part of the server that a grant depends on. */
interface GrantContext {
  readonly store: Pick<ServerStore, 'trackScopeField'>
  /** There is no authentication: everybody is anonymous. */
  readonly isOpen: boolean
}

/**
 * Decides what a client sees: its authentication is the upper bound, and its wishes narrow it. Fields that
 * visibility depends on are tracked before the first read.
 *
 * A wish for a field that the store does not track is left to the client, which filters what it receives by the
 * same rule. Tracking a field costs every later write to the collection. So a wish may not add one in a collection
 * that is hidden from the client, nor may that of an anonymous visitor where the server has authentication.
 *
 * @see docs/protocol.md, "Scopes"
 */
export async function grantView(
  auth: CheckedAuthContext,
  handshake: Pick<HandshakeMessage, 'syncScope' | 'syncQueries'>,
  { store, isOpen }: GrantContext,
): Promise<Grant> {
  const writeScope = auth.scopes ?? null
  const granted = grantScope(writeScope, handshake.syncScope)
  const mayAdd = isOpen || auth.isAnonymous !== true
  const scope = granted === null ? null : await trackScope(store, { granted, writeScope, mayAdd })
  const subsets = []
  for (const { collection, where } of handshake.syncQueries ?? []) {
    const isHidden = granted !== null && !Object.hasOwn(granted, collection)
    const wish = { collection, filter: where, bound: null, mayAdd: mayAdd && !isHidden }
    subsets.push({ collection, where: await trackFilter(store, wish) })
  }
  return {
    view: createView(scope, subsets),
    acceptedScope:
      granted !== null && canonicalJson(granted) === canonicalJson(handshake.syncScope) ? granted : undefined,
    scopeKey: createView(granted).key,
    isUnrestricted: granted === null,
  }
}

interface TrackedScope {
  readonly granted: ScopeMap
  readonly writeScope: ScopeMap | null
  readonly mayAdd: boolean
}

async function trackScope(
  store: Pick<ServerStore, 'trackScopeField'>,
  { granted, writeScope, mayAdd }: TrackedScope,
): Promise<ScopeMap> {
  const scope: { [collection: string]: ScopeMap[string] } = Object.create(null)
  for (const [collection, filter] of Object.entries(granted)) {
    const bound = writeScope !== null && Object.hasOwn(writeScope, collection) ? writeScope[collection] : null
    scope[collection] = await trackFilter(store, { collection, filter, bound: bound ?? null, mayAdd })
  }
  return scope
}

interface TrackedFilter {
  readonly collection: string
  readonly filter: ScopeMap[string]
  /** The fields of the collection that are granted; null: the collection is not granted. */
  readonly bound: ScopeMap[string] | null
  /** True where fields that the client merely wishes for may be tracked, too. */
  readonly mayAdd: boolean
}

async function trackFilter(
  store: Pick<ServerStore, 'trackScopeField'>,
  { collection, filter, bound, mayAdd }: TrackedFilter,
): Promise<ScopeMap[string]> {
  const tracked: { [field: string]: ScopeMap[string][string] } = Object.create(null)
  const fields = Object.keys(filter)
  if (fields.length === 0) {
    const isGranted = bound !== null
    await store.trackScopeField(collection, null, { isGranted, mayAdd: isGranted || mayAdd })
  }
  // Granted fields come first, because a lookup of views may have to leave out the last ones.
  fields.sort((a, b) => Number(isIn(bound, b)) - Number(isIn(bound, a)))
  for (const field of fields) {
    const isGranted = isIn(bound, field)
    const isTracked = await store.trackScopeField(collection, field, {
      isGranted,
      mayAdd: isGranted || mayAdd,
    })
    const value = filter[field]
    if ((isTracked || isGranted) && value !== undefined) tracked[field] = value
  }
  return tracked
}

function isIn(filter: ScopeMap[string] | null, field: string): boolean {
  return filter !== null && Object.hasOwn(filter, field)
}
