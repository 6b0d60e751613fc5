import { blobRefsOf } from '../../core/blob-ref.ts'
import type { FieldValues } from '../../core/operation.ts'
import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import { Turns } from '../../core/turns.ts'
import type { BlobIndex, BlobReferrer, ListingManifest } from '../../store/blob-index.ts'
import type { ServerStore } from '../../store/store.ts'
import type { ClientAccess } from '../authorization.ts'
import { confinedMark, nodeHolder, nodeHoldersOf, partHolder } from './blob-holders.ts'
import type { GrantedPart, Tenants } from './tenants.ts'

export type BlobAccessStore = BlobIndex & Pick<ServerStore, 'readRecordValues'>

/** A live record that refers to a blob and that the requester may see. */
export interface VisibleReferrer extends BlobReferrer {
  readonly values: FieldValues
}

const PAGE = 200
/** Rows of the index looked at at once. What has more is looked for in turn: anybody can refer to it as often as they like. */
const MAX_UNTURNED_ROWS = 2000
const MAX_WAITING_SEARCHES = 256

interface ReferrerPage {
  readonly hash: string
  readonly referrers: readonly BlobReferrer[]
  /** Rows of the index that were read for it. */
  readonly rowCount: number
}

/** What was found at once, and how to look through the rest, for which other clients may have to be waited for. */
export interface ReferrerSearch {
  readonly found: readonly VisibleReferrer[]
  /** null when there is no rest, or what was found is enough. */
  readonly rest: (() => Promise<readonly VisibleReferrer[]>) | null
}

interface Search {
  readonly hash: string
  readonly access: ClientAccess
  /** False once nobody waits for the answer any more. */
  readonly isWanted: () => boolean
  readonly pages: AsyncGenerator<ReferrerPage, undefined>
  /** What the client sees; no more than a page. */
  found: VisibleReferrer[]
}

/**
 * Decides who may read which bytes. Knowing a hash is not enough: the requester must see a live
 * record that refers to it, or to a manifest that lists it. Nor is writing such a record: the bytes
 * must have come from who made the reference, on the device that did, or from the requester's own tenant, whose part of
 * the collection the record lies in.
 */
export class BlobAccess {
  readonly #store: BlobAccessStore
  readonly #runtime: Pick<Runtime, 'defer'>
  readonly #tenants: Tenants
  readonly #longSearches = new Turns(1)

  constructor(store: BlobAccessStore, runtime: Pick<Runtime, 'defer'>, tenants: Tenants) {
    this.#store = store
    this.#runtime = runtime
    this.#tenants = tenants
  }

  /**
   * Records through which the client reaches the hash: if there are such, some by which the stored bytes may be
   * given, too. Empty: it may not be read.
   *
   * @param isWanted asked while a long search goes on; when it says no, the search ends
   */
  async search(hash: string, access: ClientAccess, isWanted: () => boolean): Promise<ReferrerSearch> {
    const search: Search = { hash, access, isWanted, pages: this.#pagesOf(hash), found: [] }
    const isOver = await this.#look(search, MAX_UNTURNED_ROWS)
    const mayGoOn = !isOver && this.#longSearches.waitingCount < MAX_WAITING_SEARCHES
    return { found: search.found, rest: mayGoOn ? () => this.#goOn(search) : null }
  }

  /** True when the stored bytes may be given to who reaches them through these records. */
  async mayReadStored(
    hash: string,
    referrers: readonly VisibleReferrer[],
    access: ClientAccess,
  ): Promise<boolean> {
    if (access.granted === null) return true
    const authors = referrers.flatMap(({ author }) => (author === null ? [] : [nodeHolder(author)]))
    const nodes = new Set([...nodeHoldersOf(access), ...authors])
    const verdict = await this.#store.checkBlobHolders(hash, [...nodes])
    return verdict !== 'held-by-others' || this.#isOfTenant(hash, referrers, access)
  }

  async #isOfTenant(
    hash: string,
    referrers: readonly VisibleReferrer[],
    access: ClientAccess,
  ): Promise<boolean> {
    const partsByHolder = new Map<string, GrantedPart>()
    for (const collection of new Set(referrers.map((referrer) => referrer.collection))) {
      const parts = this.#tenants.partsBehind(collection, access)
      for (const part of parts) partsByHolder.set(partHolder(part), part)
    }
    for (const [holder, part] of partsByHolder) {
      if (!(await this.#isHeld(hash, holder))) continue
      if (await this.#areAgreed(hash, this.#tenants.partsToAgree(access, { beside: part }))) return true
    }
    return false
  }

  /** False when whoever has sent the bytes is granted another part of one of the collections. */
  async #areAgreed(hash: string, parts: readonly GrantedPart[]): Promise<boolean> {
    for (const part of parts) {
      if (await this.#isHeld(hash, partHolder(part))) continue
      if (await this.#isHeld(hash, confinedMark(part))) return false
    }
    return true
  }

  async #isHeld(hash: string, holder: string): Promise<boolean> {
    return (await this.#store.checkBlobHolders(hash, [holder])) === 'held'
  }

  /** What refers to the hash, and then what refers to a manifest that lists it. */
  async *#pagesOf(hash: string): AsyncGenerator<ReferrerPage, undefined> {
    yield* this.#directPagesOf(hash)
    let manifests: readonly ListingManifest[] = []
    do {
      manifests = await this.#store.readBlobManifests(hash, PAGE, manifests.at(-1)?.hash)
      yield { hash, referrers: [], rowCount: manifests.length }
      for (const manifest of manifests) if (manifest.isReferred) yield* this.#directPagesOf(manifest.hash)
    } while (manifests.length === PAGE)
  }

  async #goOn(search: Search): Promise<readonly VisibleReferrer[]> {
    await this.#longSearches.run(() => this.#look(search, Number.POSITIVE_INFINITY))
    return search.found
  }

  async *#directPagesOf(hash: string): AsyncGenerator<ReferrerPage, undefined> {
    let referrers: readonly BlobReferrer[] = []
    do {
      referrers = await this.#store.readBlobReferrers(hash, PAGE, referrers.at(-1))
      yield { hash, referrers, rowCount: referrers.length }
    } while (referrers.length === PAGE)
  }

  /**
   * Looks for a page of which the client sees records by which the stored bytes may be given. Anybody who sees a
   * reference can copy it; what it sees before is kept, because other clients may be asked by it.
   *
   * @returns false when so many rows were looked at in vain and there are more
   */
  async #look(search: Search, maxRows: number): Promise<boolean> {
    const { hash, access, isWanted, pages, found } = search
    let sincePause = 0
    for (let lookedAt = 0; lookedAt < maxRows && isWanted(); ) {
      const { value: page } = await pages.next()
      if (page === undefined) return true
      const visible = await this.#visibleOf(page.referrers, page.hash, access)
      if (visible.length > 0) {
        if (await this.mayReadStored(hash, visible, access)) {
          search.found = visible
          return true
        }
        found.push(...visible.slice(0, PAGE - found.length))
      }
      lookedAt += page.rowCount
      sincePause += page.rowCount
      if (sincePause < PAGE) continue
      sincePause = 0
      await yieldToEventLoop(this.#runtime) // operations go on meanwhile
    }
    return false
  }

  async #visibleOf(
    page: readonly BlobReferrer[],
    hash: string,
    access: ClientAccess,
  ): Promise<VisibleReferrer[]> {
    const visible: VisibleReferrer[] = []
    for (const collection of new Set(page.map((referrer) => referrer.collection))) {
      const referrers = page.filter((referrer) => referrer.collection === collection)
      const records = await this.#store.readRecordValues(
        collection,
        referrers.map((referrer) => referrer.recordId),
      )
      for (const referrer of referrers) {
        const record = records.get(referrer.recordId)
        if (record === undefined || record.isDeleted) continue
        if (!blobRefsOf(record.values).includes(hash)) continue
        if (access.sees(collection, record.values)) visible.push({ ...referrer, values: record.values })
      }
    }
    return visible
  }
}
