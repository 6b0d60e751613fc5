import { findViolations } from '../../support/checker.ts'
import { perform } from './actions.ts'
import { COLLECTIONS } from './app.ts'
import { createScenario, type Scenario } from './scenario.ts'
import type { Server } from './server.ts'
import { World, type WorldOptions } from './world.ts'

export interface Outcome {
  /** Empty when all is well. */
  readonly violations: readonly string[]
  /** The same for the same seed. */
  readonly fingerprint: number
  /** ms that it took after the last fault until everything agreed. */
  readonly settledMs: number
  readonly events: number
  readonly operations: number
  readonly trace: readonly string[]
}

/** Longest time to come to rest when nothing fails any more: a resend, a rate limit, a poll, all of it. */
const REST_CHECKS_MS = [3_000, 12_000, 30_000, 60_000, 300_000] as const
const CLOSE_MS = 120_000 // the server that is unaware of a loss finds out within this

/**
 * Runs a scenario to its end: everything goes wrong, then nothing any more; then all must agree, and
 * when all have gone nothing of them may be left.
 */
export async function simulate(scenario: Scenario, options: WorldOptions = {}): Promise<Outcome> {
  const world = new World(scenario, options)
  await world.open()
  try {
    await runActions(world)
    const { violations, settledMs } = await comeToRest(world)
    const leftovers = violations.length > 0 ? [] : await findLeftovers(world)
    const operations = await world.store.getOperationCount()
    const { fingerprint, events } = world.scheduler
    world.scheduler.note(operations)
    return {
      violations: [...violations, ...leftovers, ...world.alarms],
      fingerprint,
      settledMs,
      events,
      operations,
      trace: world.trace ?? [],
    }
  } finally {
    await world.store.close()
  }
}

export function simulateSeed(seed: number, options: WorldOptions = {}): Promise<Outcome> {
  return simulate(createScenario(seed), options)
}

async function runActions(world: World): Promise<void> {
  for (const { device } of world.devices) if (world.random.chance(0.6)) device.goOnline()
  for (const action of world.scenario.actions) {
    await world.scheduler.advance(Math.max(0, action.atMs - world.elapsedMs))
    perform(action, world)
  }
  await world.scheduler.advance(100)
}

// ── at rest ──────────────────────────────────────────────────────────────────────────────────

async function comeToRest(world: World): Promise<{ violations: string[]; settledMs: number }> {
  world.note('── nothing fails any more')
  const startedAt = world.elapsedMs
  heal(world)
  let violations: string[] = []
  for (const checkMs of REST_CHECKS_MS) {
    await world.scheduler.advance(startedAt + checkMs - world.elapsedMs)
    violations = await findDisagreements(world)
    if (violations.length === 0) return { violations, settledMs: checkMs }
  }
  return { violations, settledMs: Number.POSITIVE_INFINITY }
}

function heal(world: World): void {
  for (const { faults } of world.servers) {
    faults.appends.length = 0
    faults.outageUntil = 0
    faults.readFailureRate = 0
  }
  world.losesRequests = false
  world.tokenMs = 24 * 3_600_000
  for (const server of world.servers) if (server.hub === null) server.start()
  for (const link of world.links) {
    link.endStall()
    link.reveal()
  }
  for (const host of world.devices) {
    host.clockMs = Math.min(Math.max(host.clockMs, -30_000), 30_000)
    host.device.goOnline()
  }
}

async function findDisagreements(world: World): Promise<string[]> {
  const { store, devices, scenario, droppedIds } = world
  const tenantOf = new Map(devices.map(({ device, plan }) => [device, plan.tenant]))
  const unsettled = devices.flatMap(({ device, plan }) =>
    device.state === 'streaming' && device.pendingCount === 0
      ? []
      : [`${plan.name}: is ${device.state}, ${device.pendingCount} operations pending`],
  )
  if (unsettled.length > 0) return unsettled
  return [
    ...(await findViolations({
      store,
      devices: devices.map(({ device }) => device),
      scopeOf: (device) => world.scopeOf(tenantOf.get(device) ?? null),
      collections: COLLECTIONS.filter((name) => Object.hasOwn(scenario.app.schema.collections, name)),
      isAtRest: true,
      droppedIds,
      isLate: (earlier, later) => world.requests.some((requests) => requests.hasLost(earlier.id, later.id)),
    })),
  ]
}

// ── afterwards ───────────────────────────────────────────────────────────────────────────────

/** All go, the servers stop: what is left of them is a leak. */
async function findLeftovers(world: World): Promise<string[]> {
  world.note('── everybody goes')
  for (const { device } of world.devices) device.goOffline(world.random.chance(0.5))
  await world.scheduler.advance(CLOSE_MS)
  const inUse = world.servers.flatMap(leftInUse)
  for (const server of world.servers) void server.stop()
  await world.scheduler.advance(10_000)
  const stopped = world.servers.filter(({ hub }) => hub !== null).map(({ name }) => `${name}: does not stop`)
  const timers = [
    ...world.servers,
    ...world.devices.map(({ owner }) => ({ name: owner.name, pendingTimers: owner.pending })),
  ]
    .filter(({ pendingTimers }) => pendingTimers > 0)
    .map(({ name, pendingTimers }) => `${name}: ${pendingTimers} timers are left`)
  return [...inUse, ...stopped, ...timers]
}

function leftInUse({ name, hub }: Server): string[] {
  if (hub === null) return [`${name}: is not running`]
  const left = {
    sessions: hub.sessions.size,
    views: hub.views.size,
    'authors of presence': hub.relays.presence.size,
    'queued bytes': hub.ingest.queuedBytes,
  }
  return Object.entries(left).flatMap(([what, count]) =>
    count === 0 ? [] : [`${name}: ${count} ${what} are left`],
  )
}

// ── the smallest scenario that still fails ─────────────────────────────────────────────────────

/** Leaves out actions for as long as it still fails in the same way. */
export async function shrink(scenario: Scenario, maxRuns = 300): Promise<Scenario> {
  const [first] = (await simulate(scenario)).violations
  if (first === undefined) return scenario
  const kind = kindOf(first)
  let smallest = scenario
  let runs = 0
  for (let size = Math.ceil(smallest.actions.length / 2); size >= 1 && runs < maxRuns; ) {
    let hasShrunk = false
    for (let start = 0; start < smallest.actions.length && runs < maxRuns; ) {
      runs++
      const actions = smallest.actions.toSpliced(start, size)
      const candidate = { ...smallest, actions }
      const { violations } = await simulate(candidate)
      if (hasAny(violations, kind)) {
        smallest = candidate
        hasShrunk = true
      } else start += size
    }
    if (size > 1 || !hasShrunk) size = Math.floor(size / 2)
  }
  return smallest
}

/** What is wrong, whatever it is wrong with. */
function kindOf(violation: string): string {
  return violation.replaceAll(/[0-9a-f-]{6,}|\{.*\}|\d+|device \d+ \([^)]*\)/g, '').slice(0, 60)
}

function hasAny(violations: readonly string[], kind: string): boolean {
  return violations.some((violation) => kindOf(violation) === kind)
}
