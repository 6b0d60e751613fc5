import { useEffect, useRef, useState } from 'preact/hooks'
import type { LiveSample, Overview } from '../http/dashboard/api-types.ts'
import { type ApiClient, ApiError } from './api-client.ts'
import { readEvents } from './event-stream.ts'
import { sleep } from './sleep.ts'

export interface LatestOperation {
  readonly deliverySequence: number
  readonly kind: string
  readonly collection: string
  readonly recordId: string
  readonly nodeId: string
}

export interface Live {
  readonly overview: Overview | null
  /** Oldest first. */
  readonly samples: readonly LiveSample[]
  /** The newest first. */
  readonly operations: readonly LatestOperation[]
  /** False while the server does not answer. */
  readonly isConnected: boolean
  /** The reason why a server that answers sends no events; the numbers are then polled from time to time. */
  readonly refusal: string | null
}

const MAX_SAMPLES = 600
const MAX_OPERATIONS = 12
const OVERVIEW_EVERY_MS = 5000
const MAX_SILENCE_MS = 8000 // an event comes every second; a busy server is late by a few
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 5000

const NOTHING: Live = { overview: null, samples: [], operations: [], isConnected: false, refusal: null }

/**
 * The live numbers of the server, as long as the page is visible. When the server goes away, it is asked again
 * until it is back; the numbers on the page stay, and are marked as old.
 *
 * @param onRefused called when the token is no longer accepted
 */
export function useLive(client: ApiClient, onRefused: (error: ApiError) => void): Live {
  const [live, setLive] = useState(NOTHING)
  const refused = useRef(onRefused)
  refused.current = onRefused

  useEffect(() => {
    let controller = new AbortController()
    const run = (): void => {
      controller.abort()
      controller = new AbortController()
      if (document.hidden) return
      void follow(client, {
        signal: controller.signal,
        setLive,
        onRefused: (error) => refused.current(error),
      })
    }
    run()
    document.addEventListener('visibilitychange', run)
    return () => {
      document.removeEventListener('visibilitychange', run)
      controller.abort()
    }
  }, [client])

  return live
}

interface Follower {
  readonly signal: AbortSignal
  readonly setLive: (change: (live: Live) => Live) => void
  readonly onRefused: (error: ApiError) => void
}

async function follow(client: ApiClient, follower: Follower): Promise<void> {
  const { signal, setLive, onRefused } = follower
  let pauseMs = FIRST_PAUSE_MS
  const onEvent = (): void => {
    pauseMs = FIRST_PAUSE_MS
  }
  while (!signal.aborted) {
    let refusal: ApiError | null = null
    try {
      const overview = await askOverview(client, follower)
      setLive((live) => ({ ...live, overview, samples: overview.samples, isConnected: true }))
      refusal = await showEvents(client, follower, onEvent)
    } catch (error) {
      if (signal.aborted) return
      if (isTokenRefused(error)) {
        onRefused(error)
        return
      }
    }
    if (signal.aborted) return
    setLive((live) => ({ ...live, isConnected: refusal !== null, refusal: refusal?.message ?? null }))
    await sleep(Math.max(pauseMs, refusal?.retryAfterMs ?? 0), signal)
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
  }
}

/**
 * Asks for the overview, and waits even for a late answer. But without events, only such a delay shows that the
 * server hangs.
 */
async function askOverview(client: ApiClient, { signal, setLive }: Follower): Promise<Overview> {
  const markLost = (): void => setLive((live) => ({ ...live, isConnected: false }))
  const silence = setTimeout(markLost, MAX_SILENCE_MS)
  try {
    return await client.get<Overview>('overview', {}, signal)
  } finally {
    clearTimeout(silence)
  }
}

/**
 * Shows events until they end. If the server hangs, or the network lets nothing through, the page is not notified:
 * it gives up by itself after too long a silence.
 *
 * @returns why a server that does answer sends no events; null: it did
 */
async function showEvents(
  client: ApiClient,
  { signal, setLive }: Follower,
  onEvent: () => void,
): Promise<ApiError | null> {
  const connection = new AbortController()
  const untilLost = AbortSignal.any([signal, connection.signal])
  const giveUp = (): void => connection.abort()
  let silence = setTimeout(giveUp, MAX_SILENCE_MS)
  try {
    const events = await openEvents(client, untilLost)
    if (events instanceof ApiError) return events
    setLive((live) => ({ ...live, refusal: null }))
    void pollOverview(client, untilLost, setLive)
    for await (const { name, data } of readEvents(events)) {
      clearTimeout(silence)
      silence = setTimeout(giveUp, MAX_SILENCE_MS)
      onEvent()
      setLive((live) => withEvent(live, name, data))
    }
    return null
  } finally {
    clearTimeout(silence)
    connection.abort() // ends the polling
  }
}

/** @returns the events, or why the server sends none */
async function openEvents(
  client: ApiClient,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array> | ApiError> {
  try {
    return await client.events(signal)
  } catch (error) {
    if (error instanceof ApiError && error.status > 0 && !isTokenRefused(error)) return error
    throw error
  }
}

function isTokenRefused(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.status === 401 || error.status === 403)
}

/** Polls slowly changing numbers, beside the events. */
async function pollOverview(
  client: ApiClient,
  signal: AbortSignal,
  setLive: Follower['setLive'],
): Promise<void> {
  for (;;) {
    await sleep(OVERVIEW_EVERY_MS, signal)
    if (signal.aborted) return
    try {
      const overview = await client.get<Overview>('overview', { samples: 'no' }, signal)
      setLive((live) => ({ ...live, overview }))
    } catch {
      // The events end as well when the server is gone, and their reader connects again.
    }
  }
}

function withEvent(live: Live, name: string, data: unknown): Live {
  if (name === 'sample') {
    const sample = data as LiveSample // from the server that also sent the page
    const samples = [...live.samples.filter(({ at }) => at < sample.at), sample].slice(-MAX_SAMPLES)
    return { ...live, samples }
  }
  if (name === 'operations') {
    const { entries } = data as { entries: readonly LatestOperation[] } // as above
    const operations = [...entries].reverse().concat(live.operations).slice(0, MAX_OPERATIONS)
    return { ...live, operations }
  }
  return live
}
