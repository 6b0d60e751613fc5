import type { Runtime } from '../../core/runtime.ts'
import type { Audiences, RelayPeer } from './audiences.ts'
import type { VisibleReferrer } from './blob-access.ts'
import type { BlobArrivals } from './blob-arrivals.ts'
import { findCandidates } from './blob-candidates.ts'
import { CONTENT_WAIT_MS } from './content-wait.ts'
import type { PeerRequests } from './peer-requests.ts'

/** Content that is not stored, or not yet. */
export interface WantedBlob {
  readonly hash: string
  /** Records through which the requester may read it. */
  readonly referrers: readonly VisibleReferrer[]
}

/** Asks servers elsewhere for content until the signal aborts; null: no client there has it. */
export type AskElsewhere = (
  requester: RelayPeer,
  hash: string,
  signal: AbortSignal,
) => Promise<Uint8Array | null>

export interface BlobSearchesOptions {
  readonly runtime: Runtime
  readonly audiences: Audiences
  readonly peers: PeerRequests
  readonly arrivals: BlobArrivals
  readonly askElsewhere?: AskElsewhere
  /** Reads content that was stored in the meantime, if the requester may read it; absent where nothing is stored. */
  readonly readUploaded?: (
    requester: RelayPeer,
    hash: string,
    isWanted: () => boolean,
  ) => Promise<Uint8Array | null>
}

type Found = Promise<Uint8Array | null>

/**
 * How long our own clients may be silent before other servers are asked too, because each client that has the
 * content sends all of it.
 */
const HEAD_START_MS = 1000
/** How long bytes may lag behind their operation before a requester is told that there are none. */
const UPLOAD_DELAY_MS = 3000

/**
 * Searches for content that is not stored in three places at once, so that no silent client can keep it from the
 * requester:
 *
 *   clients here ──────── nobody has it, or silent for 1 s ──▶ clients of other servers
 *   the storage: an upload may be on its way
 */
export class BlobSearches {
  readonly #options: BlobSearchesOptions

  constructor(options: BlobSearchesOptions) {
    this.#options = options
  }

  /** Resolves with the first bytes that come; null when nobody has them, or after 30 s. */
  async find(requester: RelayPeer, wanted: WantedBlob): Found {
    const ending = new AbortController()
    const timer = this.#options.runtime.setTimer(CONTENT_WAIT_MS, () => ending.abort())
    let isAsking = true
    const asked = this.#ask(requester, wanted, ending.signal).finally(() => {
      isAsking = false
    })
    try {
      const uploaded = this.#awaitUpload(requester, wanted.hash, {
        signal: ending.signal,
        isAsking: () => isAsking,
      })
      return await firstOf([asked, uploaded])
    } finally {
      timer.cancel()
      ending.abort()
    }
  }

  /** Asks the clients of this server. */
  askHere(requester: RelayPeer, { hash, referrers }: WantedBlob, signal?: AbortSignal): Found {
    const { audiences, peers } = this.#options
    const candidates = findCandidates(audiences, requester, referrers)
    return new Promise((resolve) => {
      peers.ask({ requester, hash, candidates, ...(signal && { signal }), onAnswered: resolve })
    })
  }

  #ask(requester: RelayPeer, wanted: WantedBlob, signal: AbortSignal): Found {
    const here = this.askHere(requester, wanted, signal)
    return firstOf([here, this.#askElsewhere(requester, wanted.hash, { after: here, signal })])
  }

  async #askElsewhere(
    requester: RelayPeer,
    hash: string,
    { after, signal }: { readonly after: Found; readonly signal: AbortSignal },
  ): Found {
    const { runtime, askElsewhere } = this.#options
    if (askElsewhere === undefined) return null
    const bytes = await Promise.race([after, pause(runtime, HEAD_START_MS, signal)])
    if (bytes !== null || signal.aborted || !requester.isAccepted) return bytes
    return askElsewhere(requester, hash, signal)
  }

  /**
   * Waits for an upload, because an operation may come before its blob. Looks into the storage every 3 s as long as
   * clients are being asked: another server of the database does not announce what it stores.
   */
  async #awaitUpload(
    requester: RelayPeer,
    hash: string,
    { signal, isAsking }: { readonly signal: AbortSignal; readonly isAsking: () => boolean },
  ): Found {
    const { arrivals, readUploaded } = this.#options
    if (readUploaded === undefined) return null
    const isWanted = () => requester.isAccepted && !signal.aborted
    for (;;) {
      await arrivals.wait(hash, UPLOAD_DELAY_MS, signal)
      if (!isWanted()) return null
      const bytes = await readUploaded(requester, hash, isWanted)
      if (bytes !== null || !isAsking()) return bytes
    }
  }
}

/** The first bytes that come; null when none do. A failing source does not end the wait for the others. */
function firstOf(sources: readonly Found[]): Found {
  return new Promise((resolve, reject) => {
    for (const source of sources) source.then((bytes) => bytes !== null && resolve(bytes), ignoreForNow)
    Promise.allSettled(sources)
      .then(() => Promise.all(sources))
      .then(() => resolve(null), reject)
  })
}

/** Swallows a rejection: `firstOf` reports it once all sources have ended without bytes. */
function ignoreForNow(): void {}

/** Resolves after so many ms, or when the signal aborts. */
function pause(runtime: Runtime, delayMs: number, signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    const timer = runtime.setTimer(delayMs, () => resolve(null))
    signal.addEventListener('abort', () => {
      timer.cancel()
      resolve(null)
    })
  })
}
