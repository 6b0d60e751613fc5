import { createHash } from 'node:crypto'
import type { ClientAccess } from '../authorization.ts'
import { confinedPartsOf, type GrantedPart, isConfined, tagOf } from './tenants.ts'

/*
 * Notes kept about the senders of stored bytes:
 *
 *   node      the sender's user on this device, if that is proven
 *   tenant    each part of a collection that it is granted
 *   confined  each collection of which it is granted a part, where there are several: this tells a colleague from a
 *             reader who shares one part with the sender but has another in place of the next
 *
 * Earlier servers noted no `confined`, so bytes that they stored are judged only by the part that the record lies
 * in.
 */

/** The notes that are made about a session when it sends bytes. */
export function holdersOf(access: ClientAccess): string[] {
  const parts = confinedPartsOf(access)
  return [
    ...nodeHoldersOf(access),
    ...(access.granted === null ? [holder('tenant', '*')] : parts.map(partHolder)),
    ...(parts.length > 1 ? parts.filter(isConfined).map(confinedMark) : []),
  ]
}

/** The note of the sender's user on this device; none where that is not proven. */
export function nodeHoldersOf({ ownEntry }: ClientAccess): string[] {
  return ownEntry === null ? [] : [nodeHolder(ownEntry)]
}

/** @param entry of the vector, not a node id: anyone can use the name of a node, which proves nothing */
export function nodeHolder(entry: string): string {
  return holder('node', entry)
}

/** The note of a part of a collection that the sender is granted. */
export function partHolder(part: GrantedPart): string {
  return holder('tenant', tagOf(part))
}

/** The note that the sender is granted only a part of this collection. */
export function confinedMark([collection]: GrantedPart): string {
  return holder('confined', collection)
}

/** Kept short because every chunk has its own: 96 bits of a digest. */
function holder(kind: 'node' | 'tenant' | 'confined', name: string): string {
  return createHash('sha256').update(`${kind}:${name}`).digest().subarray(0, 12).toString('base64url')
}
