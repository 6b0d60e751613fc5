import type { Doc, GC, ID, Item, Skip, Transaction } from 'yjs'

type Yjs = typeof import('yjs')

/**
 * Items that Yjs may walk past in total while it integrates the items of a document: some 0.3 s. A text that 50
 * people have edited at once needs less than a tenth of it; one whose authors took turns needs none.
 */
export const MAX_SCANNED_ITEMS = 1_000_000

/** Documents with at most this many items cannot reach the limit, so their scans are not counted. */
export const UNCOUNTED_ITEMS = 400

/**
 * Most clients in an update that lacks items of others: Yjs visits each of them once for every item that has to
 * wait.
 */
const MAX_CLIENTS_OVER_GAP = 2_000

/** To scan a million items takes as long as to merge a list of some 3 MB. */
const BYTES_PER_SCANNED_ITEM = 3

let loadedBytes = 0

/**
 * The bytes of all updates so far that were loaded, or were not because it would have taken too long; the items that were
 * scanned for it count as so many bytes each. The difference of two readings tells what was loaded in between.
 */
export function totalLoadedBytes(): number {
  return loadedBytes
}

/**
 * Loads a document from updates, in time that grows with their size and not with its square: otherwise a crafted
 * document of 100 kB could take a minute.
 *
 * Each update is parsed before it is applied: applying trusts the counts that it states and allocates memory for
 * them, while parsing fails at the end of the bytes.
 *
 * @throws Error of any kind when the bytes are not a Yjs update, or would take too long
 */
export function loadDocument(
  yjs: Yjs,
  updates: readonly Uint8Array[],
  maxScannedItems = MAX_SCANNED_ITEMS,
): Doc {
  const document = new yjs.Doc()
  let itemCount = 0
  const budget = { items: maxScannedItems }
  // After a transaction, Yjs tidies the formats of texts that existed before it, which takes as many steps as there
  // are formats for each of their items. One transaction for all updates avoids that.
  document.transact(() => {
    for (const update of updates) {
      loadedBytes += update.length
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

/**
 * Replaces a method, because Yjs has no hook before an item is integrated. All of it is synchronous, so no other
 * code meets the replacement.
 */
function withScansCounted(yjs: Yjs, budget: { items: number }, apply: () => void): void {
  const { prototype } = yjs.Item
  const { integrate } = prototype
  prototype.integrate = function (transaction: Transaction, offset: number): void {
    const scanned = countScanned(yjs, this, transaction, budget.items)
    budget.items -= scanned
    loadedBytes += scanned * BYTES_PER_SCANNED_ITEM
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
 * How many items Yjs will walk past between the left and the right neighbour that the item was written between:
 * those that others have inserted there meanwhile.
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

/** @throws Error where the items of too many clients would have to wait for items that the document lacks */
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
