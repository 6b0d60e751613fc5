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
/**
 * Rows of the index read at once. Longer searches take turns, because any client can refer to a blob as often as it
 * likes.
 */
const MAX_UNTURNED_ROWS = 2000
const MAX_WAITING_SEARCHES = 256

interface ReferrerPage {
  readonly hash: string
  readonly referrers: readonly BlobReferrer[]
  /** Rows of the index that were read for this page. */
  readonly rowCount: number
}

/** The records found at once, and a way to search the rest, which may have to wait for other clients' searches. */
export interface ReferrerSearch {
  readonly found: readonly VisibleReferrer[]
  /** null when there is no rest, or what was found suffices. */
  readonly rest: (() => Promise<readonly VisibleReferrer[]>) | null
}

interface Search {
  readonly hash: string
  readonly access: ClientAccess
  /** False once the answer is no longer wanted. */
  readonly isWanted: () => boolean
  readonly pages: AsyncGenerator<ReferrerPage, undefined>
  /** Records that the client sees; at most a page. */
  found: VisibleReferrer[]
}

/**
 * Decides which clients may read which bytes. Knowing a hash is not enough: the requester must see a live record
 * that refers to it, or to a manifest that lists it. Nor is it enough to write such a record: the bytes must have
 * come from the author of the reference, on the same device, or from the requester's own tenant, whose part of the
 * collection the record lies in.
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
   * Finds records through which the client reaches the hash, preferably ones through which it may have the stored
   * bytes. An empty result means that it may not read them.
   *
   * @param isWanted called while a long search goes on; returning false ends it
   */
  async search(hash: string, access: ClientAccess, isWanted: () => boolean): Promise<ReferrerSearch> {
    const search: Search = { hash, access, isWanted, pages: this.#pagesOf(hash), found: [] }
    const isOver = await this.#look(search, MAX_UNTURNED_ROWS)
    const mayGoOn = !isOver && this.#longSearches.waitingCount < MAX_WAITING_SEARCHES
    return { found: search.found, rest: mayGoOn ? () => this.#goOn(search) : null }
  }

  /** True when a client that reaches the stored bytes through these records may have them. */
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

  /** False when the sender of the bytes is granted a different part of one of these collections. */
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

  /** Yields records that refer to the hash, then those that refer to a manifest that lists it. */
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
   * Searches for a page with records through which the client may have the stored bytes. Any client that sees a
   * reference can copy it. Visible records found on the way are kept, because other clients may be asked on their
   * account.
   *
   * @returns false when `maxRows` were searched in vain and there are more
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
