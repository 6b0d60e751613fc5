import type { SyncLimits } from '../../../src/sync/options.ts'
import { DEFAULT_SYNC_LIMITS } from '../../../src/sync/options.ts'
import { type App, randomApp, TENANTS, type Tenant } from './app.ts'
import { Random } from './random.ts'

export interface DevicePlan {
  readonly name: string
  readonly isLegacy: boolean
  /** null: it sees everything */
  readonly tenant: Tenant | null
  /** Asks for its scope by itself, and filters by it; else only the server does. */
  readonly asksForScope: boolean
  readonly wireFormat: 'json' | 'protobuf'
  /** Each of its messages is an HTTP request of its own. */
  readonly isPolling: boolean
  readonly batchSize: number
  readonly pipelineDepth: number
  readonly ackTimeoutMs: number
  readonly latencyMs: number
}

export interface ServerPlan {
  readonly count: number
  readonly store: 'memory' | 'sqlite'
  readonly storeLatencyMs: number
  /** A delta is read as if this were all that fits into memory: a larger one is streamed. */
  readonly maxDeltaBytes: number
  readonly batchSize: number
  readonly limits: SyncLimits
  /** How far the clocks of the servers are apart. */
  readonly clockMs: readonly number[]
  /** Everybody may come in; else tokens count, and end. */
  readonly isOpen: boolean
  readonly tokenMs: number
  /** Collections without a tenant are for everybody; else only for who is not limited. */
  readonly sharesNotes: boolean
}

export const ACTION_WEIGHTS = {
  write: 40,
  serverWrite: 3,
  goOffline: 4,
  goOnline: 10,
  cut: 6,
  stall: 4,
  failRequest: 2,
  kill: 2,
  stop: 1,
  evolve: 1,
  failAppends: 5,
  failReads: 2,
  outage: 1,
  stepClock: 3,
  presence: 2,
  compact: 3,
} as const
/** `contest`: two devices move one record, and the one that wins is stored first. */
export type ActionKind = keyof typeof ACTION_WEIGHTS | 'contest'

export interface Action {
  /** ms since the start */
  readonly atMs: number
  readonly kind: ActionKind
  /** Of everything that it draws: an action does the same whatever others there are. */
  readonly seed: number
}

/**
 * `whole`: two servers and five devices. `drawn`: one or two, and three to five. `contested`: as `whole`, and devices
 * contest for records.
 */
export const SHAPES = ['whole', 'drawn', 'contested'] as const
export type Shape = (typeof SHAPES)[number]

/** Everything that one simulation does, made from a seed. */
export interface Scenario {
  readonly seed: number
  readonly shape: Shape
  readonly app: App
  readonly server: ServerPlan
  readonly devices: readonly DevicePlan[]
  readonly actions: readonly Action[]
}

/** @param shape of which the seed is another run in each */
export function createScenario(seed: number, shape = shapeOf(seed)): Scenario {
  const random = new Random(seed)
  const app = randomApp(random)
  const server = serverPlan(shape, random, new Random(seed ^ 0x10e17d))
  const devices = Array.from({ length: shape === 'drawn' ? random.integer(3, 5) : 5 }, (_, index) =>
    devicePlan(index, server, random),
  )
  const drawn = actions(random)
  const contests = shape === 'contested' ? contestsAmid(drawn, new Random(seed ^ 0xc0de)) : []
  const ordered = [...drawn, ...contests].sort((a, b) => a.atMs - b.atMs)
  return { seed, shape, app, server, devices, actions: ordered }
}

/** One in five may be smaller, and in two of five records are contested. */
export function shapeOf(seed: number): Shape {
  return SHAPE_BY_REMAINDER[seed % 5] ?? 'whole'
}

const SHAPE_BY_REMAINDER: { readonly [remainder: number]: Shape } = {
  0: 'drawn',
  1: 'contested',
  3: 'contested',
}

/** @param added of what was added later: the same seed is still the same run in all else */
function serverPlan(shape: Shape, random: Random, added: Random): ServerPlan {
  const count = shape !== 'drawn' || random.chance(0.5) ? 2 : 1
  return {
    count,
    store: random.chance(0.15) ? 'sqlite' : 'memory',
    storeLatencyMs: random.pick([1, 10, 200]),
    maxDeltaBytes: added.chance(0.4) ? added.pick([500, 3_000]) : Number.MAX_SAFE_INTEGER,
    batchSize: random.pick([1, 2, 5, 20, 100]),
    limits: {
      ...DEFAULT_SYNC_LIMITS,
      ...memoryLimits(random.pick([500, 3_000, 20_000, 16 * 1024 * 1024])),
      maxBufferedBytes: random.pick([600, 5_000, 4 * 1024 * 1024]),
      maxOpsPerMinute: random.chance(0.15) ? 60 : 6000,
    },
    clockMs: Array.from({ length: count }, () => random.integer(-2_000, 2_000)),
    isOpen: random.chance(0.2),
    tokenMs: random.pick([4_000, 20_000, 3_600_000]),
    sharesNotes: random.chance(0.5),
  }
}

/** Where little is kept for readers, little may wait to be stored. */
function memoryLimits(bytes: number): Pick<SyncLimits, 'maxFeedBytes' | 'maxQueuedBytes'> {
  return { maxFeedBytes: bytes, maxQueuedBytes: bytes }
}

function devicePlan(index: number, server: ServerPlan, random: Random): DevicePlan {
  // Who may see what is decided by tokens, so without them everybody sees everything.
  const tenant = server.isOpen || random.chance(0.55) ? null : random.pick(TENANTS)
  const isLegacy = random.chance(0.25)
  const wireFormat = tenant === null && !isLegacy && random.chance(0.2) ? 'protobuf' : 'json'
  const isPolling = wireFormat === 'json' && random.chance(0.2)
  const kind = [
    isLegacy ? 'legacy' : 'modern',
    tenant ?? 'all',
    wireFormat,
    ...(isPolling ? ['polling'] : []),
  ].join(' ')
  return {
    name: `device ${index} (${kind})`,
    isLegacy,
    tenant,
    asksForScope: random.chance(0.6),
    wireFormat,
    isPolling,
    batchSize: random.pick([1, 3, 100]),
    pipelineDepth: random.pick([1, 1, 4]),
    ackTimeoutMs: random.pick([5_000, 30_000]),
    latencyMs: random.pick([1, 50, 1_500]),
  }
}

function actions(random: Random): Action[] {
  const durationMs = random.pick([5_000, 20_000, 60_000])
  // Now and then without faults, so that what goes wrong then shows by itself.
  const isCalm = random.chance(0.15)
  const weights = isCalm ? { ...ACTION_WEIGHTS, ...CALM } : ACTION_WEIGHTS
  return Array.from({ length: random.integer(10, 90) }, () => ({
    atMs: Math.floor(random.between(0, durationMs)),
    kind: random.weighted(weights),
    seed: random.seed(),
  })).sort((a, b) => a.atMs - b.atMs)
}

function contestsAmid(drawn: readonly Action[], random: Random): Action[] {
  const durationMs = drawn.at(-1)?.atMs ?? 0
  return Array.from({ length: random.integer(2, 8) }, () => ({
    atMs: Math.floor(random.between(durationMs / 4, durationMs)),
    kind: 'contest' as const,
    seed: random.seed(),
  }))
}

const CALM = { cut: 0, stall: 0, failRequest: 0, kill: 0, stop: 0, failAppends: 0, failReads: 0, outage: 0 }
