import type { JsonValue } from '../../../src/core/operation.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import type { Device } from '../../support/device.ts'
import { COLLECTIONS, TENANT_COLLECTION, TENANTS } from './app.ts'
import { Random } from './random.ts'
import type { Action, ActionKind } from './scenario.ts'
import type { DeviceHost, World } from './world.ts'

/** Clocks of devices are wrong by up to this; further ahead the server refuses what they write. */
const CLOCK_LIMITS_MS = { behind: -120_000, ahead: 50_000 } as const

/** Does what an action stands for. Nothing here waits: its consequences are events of their own. */
export function perform(action: Action, world: World): void {
  world.note(`── ${action.kind} (${action.seed})`)
  PERFORM[action.kind](world, new Random(action.seed))
}

const PERFORM: { readonly [kind in ActionKind]: (world: World, random: Random) => void } = {
  write: (world, random) => {
    const host = random.pick(world.devices)
    for (let count = Math.ceil(random.skewed(0, 12)); count > 0; count--) write(host, world, random)
  },

  serverWrite: (world, random) => {
    const { hub } = random.pick(world.servers)
    const collection = random.pick(COLLECTIONS)
    const known = random.pick(world.devices).device.records(collection)
    const isInsert = known.length === 0 || random.chance(0.5)
    const record = isInsert ? null : random.pick(known)
    const { app } = world.scenario
    const { values } = app.changes(random, record ?? {}, { author: 'server', isCreator: false })
    if (!isInsert && Object.keys(values).length === 0) return
    // The value is made from what a device shows, which may be out of date: it would take from the list what has
    // been added since. Clients do not agree on that, so the application writes only where the list is as it thinks.
    const lists = Object.keys(values).filter((field) => app.isMergedByContent(field))
    const conditions = Object.fromEntries(
      lists.map((field) => [field, (record?.[field] ?? null) as JsonValue]),
    )
    void hub
      ?.write({
        author: 'server',
        access: SERVER_ITSELF,
        type: isInsert ? 'insert' : 'update',
        collection,
        recordId: record?.id ?? world.scheduler.uuid(),
        data: isInsert
          ? { ...app.defaults(), ...app.newRecord(random, collection, random.pick(TENANTS), 'server') }
          : values,
        schemaVersion: 1,
        ...(!isInsert && lists.length > 0 && { conditions }),
      })
      .catch(() => {}) // not stored, or not known whether: the application's concern
  },

  goOffline: (world, random) => {
    random.pick(world.devices).device.goOffline(random.chance(0.6))
  },

  goOnline: (world, random) => {
    random.pick(world.devices).device.goOnline()
  },

  cut: (world, random) => {
    const link = pickLink(world, random)
    link?.cut(random.pick(['both', 'server-unaware', 'device-unaware']))
  },

  stall: (world, random) => {
    pickLink(world, random)?.stall(random.skewed(100, 60_000), random.pick(['up', 'down', 'both']))
  },

  failRequest: (world, random) => {
    pickLink(world, random)?.failRequest(0)
  },

  /** The next release of the app: its servers go, and come back with another schema. */
  evolve: (world, random) => {
    const schema = world.scenario.app.nextSchema(random, world.schema)
    for (const server of world.servers) {
      server.kill()
      for (const link of world.links) if (link.server === server) link.serverDied(random.chance(0.3))
    }
    world.evolve(schema, random.skewed(0, 5_000))
  },

  kill: (world, random) => {
    const server = random.pick(world.servers)
    if (server.hub === null) return
    server.kill()
    for (const link of world.links) if (link.server === server) link.serverDied(random.chance(0.3))
    world.scheduler.schedule(random.skewed(10, 10_000), world.owner, () => server.start())
  },

  stop: (world, random) => {
    const server = random.pick(world.servers)
    if (server.hub === null || server.hub.isStopping) return
    const restartMs = random.skewed(10, 10_000)
    void server.stop(random.pick([0, 1000])).then(() => {
      world.scheduler.schedule(restartMs, world.owner, () => server.start())
    })
  },

  failAppends: (world, random) => {
    const { appends } = random.pick(world.servers).faults
    for (let count = random.integer(1, 3); count > 0; count--) {
      appends.push(random.pick(['refused', 'answer-lost', 'thrown', null]))
    }
  },

  failReads: (world, random) => {
    const { faults } = random.pick(world.servers)
    faults.readFailureRate = random.pick([0.05, 0.5])
    world.scheduler.schedule(random.skewed(100, 10_000), world.owner, () => {
      faults.readFailureRate = 0
    })
  },

  outage: (world, random) => {
    const until = world.scheduler.now + random.skewed(100, 20_000)
    for (const { faults } of world.servers) faults.outageUntil = until
  },

  stepClock: (world, random) => {
    random.pick(world.devices).clockMs = random.chance(0.3)
      ? 0
      : random.integer(CLOCK_LIMITS_MS.behind, CLOCK_LIMITS_MS.ahead)
  },

  compact: (world) => {
    const rules = { supersededBefore: Number.MAX_SAFE_INTEGER, deletedBefore: null }
    void world.store.compactStep(0, rules).catch(() => {}) // the world may be at its end
  },

  /** What the one that loses changes besides has to reach whoever sees the record by then. */
  contest: (world, random) => {
    const [loser, winner] = random.shuffled(world.devices.filter(({ plan }) => plan.tenant === null))
    if (loser === undefined || winner === undefined) return
    const known = loser.device
      .records(TENANT_COLLECTION)
      .filter(({ id }) => winner.device.record(TENANT_COLLECTION, id) !== null)
    if (known.length === 0) return
    const { id } = random.pick(known)
    const move = (): { tenant: string } => ({ tenant: random.pick(TENANTS) })
    loser.device.goOffline() // until it is sent online, or nothing fails any more
    loser.device.update(TENANT_COLLECTION, id, { ...move(), title: `contested ${random.integer(0, 1e6)}` })
    winner.device.goOnline()
    world.scheduler.schedule(random.skewed(100, 2_000), world.owner, () => {
      if (winner.device.record(TENANT_COLLECTION, id) !== null) {
        winner.device.update(TENANT_COLLECTION, id, move())
      }
    })
  },

  presence: (world, random) => {
    const { device, plan } = random.pick(world.devices)
    if (plan.wireFormat === 'protobuf') return
    device.setPresence(random.chance(0.3) ? null : { user: { name: plan.name, color: '#000' } })
  },
}

/** What a user does: sees records, and makes, changes, moves or deletes one. */
function write({ plan, device }: DeviceHost, world: World, random: Random): void {
  const { app, server } = world.scenario
  const isShared = plan.tenant === null || server.sharesNotes
  const collection = isShared ? random.pick(COLLECTIONS) : TENANT_COLLECTION
  const seen = device
    .records(collection)
    .filter(
      ({ tenant }) => plan.tenant === null || collection !== TENANT_COLLECTION || tenant === plan.tenant,
    )
  const kind = random.weighted({ insert: 3, update: 8, delete: 1, move: 1 })
  if (kind === 'insert' || seen.length === 0) {
    const tenant = plan.tenant ?? random.pick(TENANTS)
    const values = app.newRecord(random, collection, tenant, plan.name)
    const id = device.insert(collection, values, world.scheduler.uuid())
    world.creators.set(id, device)
    return
  }
  const record = random.pick(seen)
  if (kind === 'delete') device.delete(collection, record.id)
  else if (kind === 'move' && plan.tenant === null && collection === TENANT_COLLECTION) {
    device.update(collection, record.id, { tenant: random.pick(TENANTS) })
  } else change(device, collection, record, world, random)
}

function change(
  device: Device,
  collection: string,
  record: { readonly id: string; readonly [field: string]: unknown },
  world: World,
  random: Random,
): void {
  const { values, atomics } = world.scenario.app.changes(random, record, {
    author: device.journal.name,
    isCreator: world.creators.get(record.id) === device,
  })
  if (Object.keys(values).length + Object.keys(atomics).length === 0) return
  if (random.chance(0.1) && Object.keys(values).length > 0) {
    device.transaction((transaction) => {
      transaction.update(collection, record.id, values)
      transaction.update(collection, record.id, { title: 'in a transaction' })
    }, 'rename')
  } else device.update(collection, record.id, values, atomics)
}

function pickLink({ links }: World, random: Random) {
  return links.size === 0 ? null : random.pick([...links])
}
