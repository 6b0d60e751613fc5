import { createHash } from 'node:crypto'
import type { ClientAccess } from '../authorization.ts'
import { confinedPartsOf, type GrantedPart, isConfined, tagOf } from './tenants.ts'

/*
 * What is noted of who has sent bytes:
 *
 *   node      the sender's user on this device, if that is proven
 *   tenant    each part of a collection that it is granted
 *   confined  each collection that it is granted a part of, where there are several: by it a reader who has one
 *             part in common with the sender, and another one in place of the next, is told from a colleague
 *
 * Earlier servers have noted no `confined`, so that only the part of the record decides of what they have stored.
 */

/** On whose behalf a session sends bytes. */
export function holdersOf(access: ClientAccess): string[] {
  const parts = confinedPartsOf(access)
  return [
    ...nodeHoldersOf(access),
    ...(access.granted === null ? [holder('tenant', '*')] : parts.map(partHolder)),
    ...(parts.length > 1 ? parts.filter(isConfined).map(confinedMark) : []),
  ]
}

/** Note of the sender's user on this device; none where that is not proven. */
export function nodeHoldersOf({ ownEntry }: ClientAccess): string[] {
  return ownEntry === null ? [] : [nodeHolder(ownEntry)]
}

/** @param entry of the vector: a name that anybody gives to a node proves nothing */
export function nodeHolder(entry: string): string {
  return holder('node', entry)
}

/** Note of a part of a collection that the sender is granted. */
export function partHolder(part: GrantedPart): string {
  return holder('tenant', tagOf(part))
}

/** Note of the collection that the sender is granted a part of. */
export function confinedMark([collection]: GrantedPart): string {
  return holder('confined', collection)
}

/** Short, because every chunk has its own: 96 bits of a digest. */
function holder(kind: 'node' | 'tenant' | 'confined', name: string): string {
  return createHash('sha256').update(`${kind}:${name}`).digest().subarray(0, 12).toString('base64url')
}
