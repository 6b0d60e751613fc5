import type { CheckedAuthContext } from '../../auth/provider.ts'
import { canonicalJson } from '../../core/canonical-json.ts'
import type { ScopeMap } from '../../core/scope.ts'
import { grantScope } from '../../core/scope.ts'
import { createView, type View } from '../../core/view.ts'
import type { HandshakeMessage } from '../../protocol/messages.ts'
import type { ServerStore } from '../../store/store.ts'

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

/** The part of the server that a grant depends on. */
interface GrantContext {
  readonly store: Pick<ServerStore, 'trackScopeField'>
  /** There is no authentication: everybody is anonymous. */
  readonly isOpen: boolean
}

/**
 * Decides what a client sees: its authentication is the upper bound, its wishes narrow. Fields that
 * visibility depends on are tracked before the first read.
 *
 * A wish by a field that the store does not track is left to the client, which filters what it
 * receives by the same rule. What is tracked costs everybody who writes to the collection, for good: nobody may add to
 * it by a wish for a collection that is hidden from it, nor a visitor beside users who are known.
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
  /** Its fields that are granted; null: the collection is not. */
  readonly bound: ScopeMap[string] | null
  /** By what it only wishes for. */
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
  // The fields of the authentication come first: it is the last that a lookup of views may leave out.
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
