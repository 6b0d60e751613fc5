import { parseBlobManifest } from '../../core/blob-manifest.ts'
import { DEFAULT_MAX_CHUNK_BYTES, isContentOf } from '../../core/blob-ref.ts'
import { changeCount } from '../../core/change-count.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import type {
  BlobChunkPushMessage,
  BlobChunkRequestMessage,
  BlobChunkResponseMessage,
} from '../../protocol/messages.ts'
import type { PersistBlobChunk, ResolveBlobChunk } from '../options.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { Audiences, RelayPeer } from './audiences.ts'
import { BlobAccess, type BlobAccessStore, type ReferrerSearch, type VisibleReferrer } from './blob-access.ts'
import { BlobArrivals } from './blob-arrivals.ts'
import { holdersOf } from './blob-holders.ts'
import { BlobQuota } from './blob-quota.ts'
import { type AskElsewhere, BlobSearches, type WantedBlob } from './blob-search.ts'
import { PeerRequests } from './peer-requests.ts'

export interface BlobRelayOptions {
  readonly store: BlobAccessStore
  readonly runtime: Runtime
  readonly logger: Logger
  readonly persistBlobChunk?: PersistBlobChunk
  readonly resolveBlobChunk?: ResolveBlobChunk
  /** Largest chunk or manifest in bytes. Default 8 MiB: clients make chunks of 256 KiB. */
  readonly maxBlobChunkBytes?: number
  /** Bytes that one user may have stored. Default 10 GiB. */
  readonly maxBlobBytesPerUser?: number
  readonly askElsewhere?: AskElsewhere
}

/** Counters since the start. */
export interface BlobStats {
  chunksStored: number
  /** Pushes that were ignored: wrong hash, too large, over the quota. */
  pushesRefused: number
  requestsAnswered: number
  requestsUnanswered: number
}

const DEFAULT_MAX_BYTES_PER_USER = 10 * 1024 ** 3
/** Requests of one session at a time; clients ask for one chunk of a blob after the other. */
const MAX_CONCURRENT_LOOKUPS = 8
/**
 * Searches of one session for content that is not stored, at a time. Beyond this, the client is told that nobody
 * has it.
 */
const MAX_CONCURRENT_SEARCHES = 16
/**
 * Long searches of one session, for content that very many records refer to. Beyond this, only what was found at
 * once counts.
 */
const MAX_LONG_LOOKUPS = 2
/** Rows that one transaction links, because a large manifest must not hold up operations. */
const LINK_PAGE = 1000
/** Bytes that one session may have on their way to the storage before its next message is read. */
const MAX_PUSHING_BYTES = 4 * 1024 * 1024
const MAX_CONCURRENT_PUSHES = 16
/** The least that a blob takes of the quota: a block of the disk, a file, and rows. */
const MIN_STORED_BYTES = 4096
const ANONYMOUS = 'anonymous'
const MAX_REMEMBERED_MANIFESTS = 1000

/**
 * Relays the content that records refer to. Clients push it to where the application stores it, and ask for it by
 * hash; for content that is not stored, other clients that see the record are asked.
 *
 * @see docs/presence-and-blobs.md
 */
export class BlobRelay {
  readonly stats: BlobStats = {
    chunksStored: 0,
    pushesRefused: 0,
    requestsAnswered: 0,
    requestsUnanswered: 0,
  }
  readonly #options: BlobRelayOptions
  readonly #access: BlobAccess
  readonly #peers: PeerRequests
  readonly #searches: BlobSearches
  readonly #maxChunkBytes: number
  readonly #quota: BlobQuota
  readonly #lookingByPeer = new Map<RelayPeer, number>()
  /** By the id of the peer, because each request from another server's client comes as a peer of its own. */
  readonly #longLookupsByPeerId = new Map<string, number>()
  readonly #searchesByPeer = new Map<RelayPeer, number>()
  /** By session, the bytes on their way to the storage. */
  readonly #pushingBytesByPeer = new Map<RelayPeer, number>()
  readonly #pushesByPeer = new Map<RelayPeer, number>()
  readonly #storing = new Set<Promise<void>>()
  readonly #arrivals: BlobArrivals
  readonly #linkedManifests = new Set<string>()

  constructor(audiences: Audiences, options: BlobRelayOptions) {
    this.#options = options
    this.#access = new BlobAccess(options.store, options.runtime, audiences.tenants)
    this.#maxChunkBytes = options.maxBlobChunkBytes ?? DEFAULT_MAX_CHUNK_BYTES
    const { store, runtime, maxBlobBytesPerUser = DEFAULT_MAX_BYTES_PER_USER } = options
    this.#quota = new BlobQuota({ store, runtime, maxBytesPerUser: maxBlobBytesPerUser })
    this.#peers = new PeerRequests(options.runtime)
    this.#arrivals = new BlobArrivals(options.runtime)
    this.#searches = new BlobSearches({
      ...options,
      audiences,
      peers: this.#peers,
      arrivals: this.#arrivals,
      ...(options.persistBlobChunk && {
        readUploaded: (...wanted) => this.#readUploaded(...wanted),
      }),
    })
  }

  receive(
    peer: RelayPeer,
    message: BlobChunkRequestMessage | BlobChunkResponseMessage | BlobChunkPushMessage,
  ): Promise<void> | undefined {
    switch (message.type) {
      case 'blob-chunk-push':
        return this.#onPush(peer, message)
      case 'blob-chunk-request':
        return this.#onRequest(peer, message)
      default:
        return this.#onResponse(peer, message)
    }
  }

  onClosed(peer: RelayPeer): void {
    this.#peers.onClosed(peer)
  }

  /** Resolves when all pushed content that has arrived is stored. Never rejects. */
  async drain(): Promise<void> {
    await Promise.all(this.#storing)
  }

  stop(): void {
    this.#peers.stop()
    this.#arrivals.stop()
  }

  // ── upload ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Stores pushed content. The protocol has no answer to a push, and a client that has sent everything may leave at
   * once. So what has arrived is accepted before the next message is awaited, up to a bound.
   */
  #onPush(peer: RelayPeer, message: BlobChunkPushMessage): Promise<void> | undefined {
    if (this.#options.persistBlobChunk === undefined || peer.identity === null) return undefined
    const bytes = this.#decode(message.bytes, message.hash)
    if (bytes === null) {
      this.stats.pushesRefused++
      return undefined
    }
    const { byteLength } = bytes
    const pushingBytes = changeCount(this.#pushingBytesByPeer, peer, byteLength)
    const pushes = changeCount(this.#pushesByPeer, peer, 1)
    const stored: Promise<void> = this.#store(peer.identity, message.hash, bytes)
      .catch((error) => this.#onFailed(error))
      .finally(() => {
        changeCount(this.#pushingBytesByPeer, peer, -byteLength)
        changeCount(this.#pushesByPeer, peer, -1)
        this.#storing.delete(stored)
      })
    this.#storing.add(stored)
    return pushingBytes > MAX_PUSHING_BYTES || pushes >= MAX_CONCURRENT_PUSHES ? stored : undefined
  }

  async #store(identity: SessionIdentity, hash: string, bytes: Buffer): Promise<void> {
    const { store, persistBlobChunk } = this.#options
    const { auth } = identity
    const userId = auth.isAnonymous === true ? ANONYMOUS : auth.userId // they share one quota: ids are free
    const byteLength = Math.max(bytes.byteLength, MIN_STORED_BYTES)
    const giveBack = await this.#quota.take(userId, byteLength)
    if (giveBack === null) {
      this.stats.pushesRefused++
      return
    }
    const holders = holdersOf(identity.access)
    try {
      await store.noteBlobHolders(hash, holders) // first, or bytes could be stored without a note of their sender
      await persistBlobChunk?.(hash, bytes)
      await store.recordBlobUpload({ hash, byteLength, userId, holders })
    } catch (error) {
      giveBack() // the client sends it again
      throw error
    }
    await this.#linkManifest(hash, bytes)
    this.stats.chunksStored++
    this.#arrivals.onStored(hash)
  }

  /** null when the bytes are too many, or not what the hash says. */
  #decode(base64: string, hash: string): Buffer | null {
    if (base64.length > (this.#maxChunkBytes / 3) * 4 + 4) return null
    const bytes = Buffer.from(base64, 'base64')
    return isContentOf(hash, bytes) ? bytes : null
  }

  /** Links a manifest to the chunks that it lists: a client that may read it may read them. */
  async #linkManifest(hash: string, bytes: Uint8Array): Promise<void> {
    if (this.#linkedManifests.has(hash)) return
    const manifest = parseBlobManifest(bytes)
    if (manifest === null) return
    const chunks = [...new Set(manifest.chunkHashes)]
    for (let start = 0; start < chunks.length; start += LINK_PAGE) {
      await this.#options.store.linkBlobChunks(hash, chunks.slice(start, start + LINK_PAGE))
    }
    if (this.#linkedManifests.size >= MAX_REMEMBERED_MANIFESTS) this.#linkedManifests.clear()
    this.#linkedManifests.add(hash)
  }

  // ── download ───────────────────────────────────────────────────────────────────────────────

  /** Makes the session wait only where it asks for more than the store can answer at a time. */
  #onRequest(peer: RelayPeer, message: BlobChunkRequestMessage): Promise<void> | undefined {
    const looking = changeCount(this.#lookingByPeer, peer, 1)
    const looked = this.#answerOrFail(peer, message, this.#lookUp(peer, message)).finally(() =>
      changeCount(this.#lookingByPeer, peer, -1),
    )
    return looking >= MAX_CONCURRENT_LOOKUPS ? looked : undefined
  }

  async #lookUp(peer: RelayPeer, message: BlobChunkRequestMessage): Promise<void> {
    const { identity } = peer
    if (identity === null) return
    const { found, rest } = await this.#access.search(message.hash, identity.access, () => peer.isAccepted)
    const answer = (referrers: readonly VisibleReferrer[]) => this.#answerBy(referrers, peer, message)
    const answered = this.#goOn(peer, rest, answer)
    if (answered === null) return answer(found)
    // Not awaited: it may take long, and the client's other messages are due meanwhile.
    void this.#answerOrFail(peer, message, answered)
  }

  /** @returns null when there is nothing to go on with, or the client already has its share of long searches */
  #goOn<Result>(
    peer: RelayPeer,
    rest: ReferrerSearch['rest'],
    use: (referrers: readonly VisibleReferrer[]) => Promise<Result>,
  ): Promise<Result> | null {
    if (rest === null || (this.#longLookupsByPeerId.get(peer.id) ?? 0) >= MAX_LONG_LOOKUPS) return null
    changeCount(this.#longLookupsByPeerId, peer.id, 1)
    return rest()
      .then(use)
      .finally(() => changeCount(this.#longLookupsByPeerId, peer.id, -1))
  }

  /** Never rejects. */
  async #answerOrFail(
    peer: RelayPeer,
    { requestId }: BlobChunkRequestMessage,
    answered: Promise<void>,
  ): Promise<void> {
    try {
      await answered
    } catch (error) {
      if (!peer.isAccepted) return // the store may be closed by now
      this.#onFailed(error)
      this.#answer(peer, requestId, null)
    }
  }

  async #answerBy(
    referrers: readonly VisibleReferrer[],
    peer: RelayPeer,
    message: BlobChunkRequestMessage,
  ): Promise<void> {
    if (peer.identity === null) return
    const { requestId, hash } = message
    // Refused without saying so: the client gets the same answer as for content that nobody has.
    if (referrers.length === 0) return this.#answer(peer, requestId, null)
    const stored = await this.#readStored(peer.identity, hash, referrers)
    if (stored !== null) return this.#answer(peer, requestId, stored)
    void this.#answerOrFail(peer, message, this.#search(peer, requestId, { hash, referrers }))
  }

  /** Searches for content that is not stored, or not yet. */
  async #search(peer: RelayPeer, requestId: string, wanted: WantedBlob): Promise<void> {
    const searches = this.#searchesByPeer.get(peer) ?? 0
    if (searches >= MAX_CONCURRENT_SEARCHES) return this.#answer(peer, requestId, null)
    this.#searchesByPeer.set(peer, searches + 1)
    try {
      this.#answer(peer, requestId, await this.#searches.find(peer, wanted))
    } finally {
      changeCount(this.#searchesByPeer, peer, -1)
    }
  }

  /** Asks the clients of this server on behalf of one that is connected elsewhere. */
  async findAmongPeers(requester: RelayPeer, hash: string): Promise<Uint8Array | null> {
    if (requester.identity === null) return null
    const { access } = requester.identity
    const { found, rest } = await this.#access.search(hash, access, () => requester.isAccepted)
    const ask = async (referrers: readonly VisibleReferrer[]) =>
      referrers.length === 0 ? null : this.#searches.askHere(requester, { hash, referrers })
    return this.#goOn(requester, rest, ask) ?? ask(found)
  }

  async #readStored(
    identity: SessionIdentity,
    hash: string,
    referrers: readonly VisibleReferrer[],
  ): Promise<Uint8Array | null> {
    const bytes = await this.#resolve(hash)
    if (bytes === null || !(await this.#access.mayReadStored(hash, referrers, identity.access))) return null
    await this.#linkManifest(hash, bytes)
    return bytes
  }

  /**
   * Reads content that has been stored meanwhile. The search is made again, because the records that give access
   * depend on the sender.
   */
  async #readUploaded(peer: RelayPeer, hash: string, isWanted: () => boolean): Promise<Uint8Array | null> {
    const { identity } = peer
    if (identity === null) return null
    const { found, rest } = await this.#access.search(hash, identity.access, isWanted)
    const read = (referrers: readonly VisibleReferrer[]) => this.#readStored(identity, hash, referrers)
    return this.#goOn(peer, rest, read) ?? read(found)
  }

  async #resolve(hash: string): Promise<Uint8Array | null> {
    const bytes = (await this.#options.resolveBlobChunk?.(hash)) ?? null
    if (bytes === null || isContentOf(hash, bytes)) return bytes
    logEvent(this.#options.logger, LOG_EVENTS.blobDamaged, { hash })
    return null
  }

  #onResponse(
    peer: RelayPeer,
    { requestId, bytes: text }: BlobChunkResponseMessage,
  ): Promise<void> | undefined {
    const hash = this.#peers.hashOf(peer, requestId)
    if (hash === null) return undefined // late, or never requested
    const bytes = text === null ? null : this.#decode(text, hash)
    if (bytes === null) {
      this.#peers.onAnswer(peer, requestId, null)
      return undefined
    }
    // The client asks for the chunks next, so they are linked before the answer leaves.
    return this.#linkManifest(hash, bytes)
      .catch((error) => this.#onFailed(error))
      .then(() => this.#peers.onAnswer(peer, requestId, bytes))
  }

  #answer(peer: RelayPeer, requestId: string, bytes: Uint8Array | null): void {
    if (bytes === null) this.stats.requestsUnanswered++
    else this.stats.requestsAnswered++
    if (!peer.isAccepted || !peer.canSend()) return // the client asks again
    peer.send({
      type: 'blob-chunk-response',
      messageId: peer.nextMessageId(),
      requestId,
      bytes:
        bytes === null
          ? null
          : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
    })
  }

  #onFailed(error: unknown): void {
    logEvent(this.#options.logger, LOG_EVENTS.blobFailed, { err: error })
  }
}
