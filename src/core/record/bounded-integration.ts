import type { Doc, GC, ID, Item, Skip, Transaction } from 'yjs'

type Yjs = typeof import('yjs')

/**
 * Items that Yjs may walk past while it integrates a document, to find the places of others: some 0.3 s. A text that 50
 * people have edited at once comes to less than a tenth of it; one that was written by one after the other to none.
 */
export const MAX_SCANNED_ITEMS = 1_000_000

/** A document of so few items cannot come near it: its scans are not counted. */
export const UNCOUNTED_ITEMS = 400

/** Clients of an update that lacks items of others: Yjs looks at each of them once for every one that has to wait. */
const MAX_CLIENTS_OVER_GAP = 2_000

/**
 * Loads one document from updates, in time that grows with their size and not with its square: who crafts one of 100 kB
 * could have it take a minute otherwise.
 *
 * Each update is read before it is applied: applying trusts the counts that it states and allocates for them, reading
 * fails at the end of the bytes.
 *
 * @throws Error of whatever kind when the bytes are no Yjs update, or would take too long
 */
export function loadDocument(
  yjs: Yjs,
  updates: readonly Uint8Array[],
  maxScannedItems = MAX_SCANNED_ITEMS,
): Doc {
  const document = new yjs.Doc()
  let itemCount = 0
  const budget = { items: maxScannedItems }
  // After a transaction Yjs tidies the formats of texts that were there before it, with as many steps as there are
  // formats for each of their items.
  document.transact(() => {
    for (const update of updates) {
      const { structs } = yjs.decodeUpdate(update)
      refuseWideGap(yjs, document, structs)
      itemCount += structs.length
      const apply = (): void => yjs.applyUpdate(document, update)
      if (itemCount <= UNCOUNTED_ITEMS) apply()
      else withScansCounted(yjs, budget, apply)
    }
  })
  return document
}

/** Yjs has no hook of its own before an item is integrated. Everything here is synchronous: nobody else meets this one. */
function withScansCounted(yjs: Yjs, budget: { items: number }, apply: () => void): void {
  const { prototype } = yjs.Item
  const { integrate } = prototype
  prototype.integrate = function (transaction: Transaction, offset: number): void {
    budget.items -= countScanned(yjs, this, transaction, budget.items)
    if (budget.items < 0) throw new Error('The document takes too long to be integrated.')
    integrate.call(this, transaction, offset)
  }
  try {
    apply()
  } finally {
    prototype.integrate = integrate
  }
}

/**
 * How many items Yjs will walk past, from the left neighbour of an item to the right one, as both were when it was
 * written: those that others have put there meanwhile.
 *
 * @see Item.integrate of Yjs, whose walk this is
 */
function countScanned(yjs: Yjs, item: Item, { doc }: Transaction, limit: number): number {
  const { left, right } = item
  if (left === null ? right !== null && right.left === null : left.right === right) return 0
  const passed = new Set<Item>()
  for (let other = firstScanned(item); other !== null && other !== right; other = other.right) {
    passed.add(other)
    if (passed.size > limit) break
    if (yjs.compareIDs(item.origin, other.origin)) {
      const isBehind = other.id.client > item.id.client && yjs.compareIDs(item.rightOrigin, other.rightOrigin)
      if (isBehind) break
    } else if (other.origin === null || !passed.has(yjs.getItem(doc.store, other.origin) as Item)) {
      break
    }
  }
  return passed.size
}

function firstScanned({ left, parent, parentSub }: Item): Item | null {
  if (left !== null) return left.right
  // Integrated items have types for parents; one whose parent is gone has none.
  const type = parent as { _start: Item | null; _map: Map<string, Item> } | null
  if (type === null) return null
  if (parentSub === null) return type._start
  let first = type._map.get(parentSub) ?? null
  while (first !== null && first.left !== null) first = first.left
  return first
}

/** @throws Error where items of too many clients would have to wait for others that the document lacks */
function refuseWideGap(yjs: Yjs, { store }: Doc, structs: readonly (Item | GC | Skip)[]): void {
  const ends = new Map<number, number>()
  for (const { id, length } of structs) ends.set(id.client, id.clock + length)
  if (ends.size <= MAX_CLIENTS_OVER_GAP) return
  const isKnown = ({ client, clock }: ID): boolean =>
    clock < Math.max(yjs.getState(store, client), ends.get(client) ?? 0)
  const read = new Map<number, number>()
  for (const struct of structs) {
    const { id, length } = struct
    const isNext = id.clock <= Math.max(yjs.getState(store, id.client), read.get(id.client) ?? 0)
    if (!isNext || struct instanceof yjs.Skip || !neighboursOf(yjs, struct).every(isKnown)) {
      throw new Error('The document lacks items that many others refer to.')
    }
    read.set(id.client, id.clock + length)
  }
}

function neighboursOf(yjs: Yjs, struct: Item | GC | Skip): readonly ID[] {
  if (!(struct instanceof yjs.Item)) return []
  return [struct.origin, struct.rightOrigin, struct.parent].filter((reference) => reference instanceof yjs.ID)
}
