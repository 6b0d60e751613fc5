import { createHash } from 'node:crypto'
import { blobRefsOf } from '../../core/blob-ref.ts'
import type { FieldValues } from '../../core/operation.ts'
import type { BlobIndex, BlobReferrer } from '../../store/blob-index.ts'
import type { ServerStore } from '../../store/store.ts'
import type { ClientAccess } from '../authorization.ts'
import { tenantTags } from './audiences.ts'

export type BlobAccessStore = BlobIndex & Pick<ServerStore, 'readRecordValues'>

/** A live record that refers to a blob and that the requester may see. */
export interface VisibleReferrer extends BlobReferrer {
  readonly values: FieldValues
}

/** Records looked at for one request. What is used more often is found among the first ones. */
const PAGE = 200
const MAX_REFERRERS = 2000
const MAX_MANIFESTS = 20

/**
 * Decides who may read which bytes. Knowing a hash is not enough: the requester must see a live
 * record that refers to it, or to a manifest that lists it. Nor is writing such a record: the bytes
 * must have come from the requester's own tenant, or from who made the reference on the device that did.
 */
export class BlobAccess {
  readonly #store: BlobAccessStore

  constructor(store: BlobAccessStore) {
    this.#store = store
  }

  /** The records through which the client reaches the hash. Empty: it may not be read. */
  async findReferrers(hash: string, access: ClientAccess): Promise<readonly VisibleReferrer[]> {
    const direct = await this.#visibleReferrers(hash, access)
    if (direct.length > 0) return direct
    for (const manifestHash of await this.#store.readBlobManifests(hash, MAX_MANIFESTS)) {
      const referrers = await this.#visibleReferrers(manifestHash, access)
      if (referrers.length > 0) return referrers
    }
    return []
  }

  /** True when the stored bytes may be given to who reaches them through these records. */
  async mayReadStored(
    hash: string,
    referrers: readonly VisibleReferrer[],
    access: ClientAccess,
  ): Promise<boolean> {
    if (access.granted === null) return true
    const authors = referrers.flatMap(({ author }) => (author === null ? [] : [nodeHolder(author)]))
    const holders = new Set([...holdersOf(access), ...authors])
    return (await this.#store.checkBlobHolders(hash, [...holders])) !== 'held-by-others'
  }

  /** The first page that has any. */
  async #visibleReferrers(hash: string, access: ClientAccess): Promise<readonly VisibleReferrer[]> {
    let after: BlobReferrer | undefined
    for (let seen = 0; seen < MAX_REFERRERS; seen += PAGE) {
      const page = await this.#store.readBlobReferrers(hash, PAGE, after)
      const visible = await this.#visibleOf(page, hash, access)
      if (visible.length > 0 || page.length < PAGE) return visible
      after = page.at(-1)
    }
    return []
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

/** On whose behalf a session sends bytes: its user's on this device, if that is proven, and its tenant's. */
export function holdersOf(access: ClientAccess): string[] {
  const { ownEntry } = access
  const tenants = tenantTags(access).map((tag) => holder('tenant', tag))
  return ownEntry === null ? tenants : [nodeHolder(ownEntry), ...tenants]
}

/** @param entry of the vector: a name that anybody gives to a node proves nothing */
function nodeHolder(entry: string): string {
  return holder('node', entry)
}

/** Short, because every chunk has its own: 96 bits of a digest. */
function holder(kind: 'node' | 'tenant', name: string): string {
  return createHash('sha256').update(`${kind}:${name}`).digest().subarray(0, 12).toString('base64url')
}
