import '../../support/prepare-rich-text.ts'
import { NoAuthProvider } from '../../../src/auth/no-auth-provider.ts'
import type { AuthContext, AuthProvider } from '../../../src/auth/provider.ts'
import type { LogFields, Logger } from '../../../src/core/logger.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import type { ScopeMap } from '../../../src/core/scope.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import type { ConnectSocket } from '../../support/device/socket.ts'
import { Device } from '../../support/device.ts'
import { TENANT_COLLECTION, type Tenant } from './app.ts'
import type { Mistake } from './mistakes.ts'
import { Link } from './network.ts'
import { Random } from './random.ts'
import type { Requests } from './requests.ts'
import type { DevicePlan, Scenario } from './scenario.ts'
import { Scheduler, STARTED_AT, TaskOwner } from './scheduler.ts'
import { Server } from './server.ts'

/** A device with its clock, its connection and the token that it holds. */
export interface DeviceHost {
  readonly plan: DevicePlan
  readonly device: Device
  readonly owner: TaskOwner
  /** How far its clock is ahead, ms. */
  clockMs: number
  link: Link | null
}

export interface WorldOptions {
  /** Keeps every message. */
  readonly isTraced?: boolean
  /** Puts a mistake between the servers and the database: what the simulation is there to find. */
  readonly spoil?: (store: ServerStore) => ServerStore
  /** A mistake in what devices are sent. Those that read protobuf are spared. */
  readonly mistake?: Mistake
  /** A mistake of the servers: requests that the network would lose have come to them, and they forget these. */
  readonly forgetsRequests?: boolean
}

/** Devices, servers, a database and the network between them, in one process on one clock. */
export class World {
  readonly scenario: Scenario
  readonly scheduler: Scheduler
  readonly store: ServerStore
  readonly servers: readonly Server[]
  readonly devices: readonly DeviceHost[]
  /** Of the things that are not the application's doing. */
  readonly random: Random
  readonly links = new Set<Link>()
  /** What became of the requests, connection by connection. */
  readonly requests: Requests[] = []
  /** Record id → who made it. */
  readonly creators = new Map<string, Device>()
  /** Refused, and the device is too old to be told. */
  readonly droppedIds = new Set<string>()
  /** What the servers say must not happen. */
  readonly alarms: string[] = []
  readonly owner = new TaskOwner('world')
  readonly trace: string[] | null
  readonly #mistake: Mistake | null
  readonly #forgetsRequests: boolean
  /** Where clients poll, one request may fail and others arrive. */
  losesRequests: boolean
  /** How long tokens hold. */
  tokenMs: number
  /** Of the servers; devices keep the first. */
  schema: SchemaDefinition

  constructor(
    scenario: Scenario,
    { isTraced = false, spoil = (store) => store, mistake, forgetsRequests = false }: WorldOptions = {},
  ) {
    this.scenario = scenario
    this.#mistake = mistake ?? null
    this.#forgetsRequests = forgetsRequests
    this.trace = isTraced ? [] : null
    this.losesRequests = scenario.actions.some(({ kind }) => kind === 'failRequest')
    this.tokenMs = scenario.server.tokenMs
    this.schema = scenario.app.schema
    this.random = new Random(scenario.seed ^ 0x5eed)
    this.scheduler = new Scheduler(this.random.seed())
    const runtime = this.scheduler.runtime(new TaskOwner('store'))
    this.store =
      scenario.server.store === 'memory'
        ? new MemoryServerStore({ nodeId: 'server', runtime })
        : createSqliteServerStore({ filename: ':memory:', nodeId: 'server', runtime })
    const served = spoil(this.store)
    this.servers = scenario.server.clockMs.map((clockMs, index) => this.#server(index, clockMs, served))
    this.devices = scenario.devices.map((plan, index) => this.#device(plan, index))
  }

  async open(): Promise<void> {
    const isReady = this.store.setSchema(this.scenario.app.schema)
    await this.scheduler.advance(1000) // a store may wait for its turn
    await isReady
    for (const server of this.servers) server.start()
  }

  /** The servers, which are all down, start with another schema; one of them brings the tables to it. */
  evolve(schema: SchemaDefinition, downMs: number): void {
    this.schema = schema
    this.note(`── schema ${schema.version}`)
    void this.store.setSchema(schema).then(() => {
      for (const server of this.servers) this.scheduler.schedule(downMs, this.owner, () => server.start())
    })
  }

  get elapsedMs(): number {
    return this.scheduler.now - STARTED_AT
  }

  note(text: string): void {
    this.trace?.push(`${(this.elapsedMs / 1000).toFixed(3).padStart(9)} s  ${text}`)
  }

  scopeOf(tenant: Tenant | null): ScopeMap | null {
    if (tenant === null) return null
    const shared = this.scenario.server.sharesNotes ? { notes: {} } : {}
    return { [TENANT_COLLECTION]: { tenant }, ...shared }
  }

  // ── servers ────────────────────────────────────────────────────────────────────────────────

  #server(index: number, clockMs: number, store: ServerStore): Server {
    const { server } = this.scenario
    return new Server({
      name: `server ${index}`,
      scheduler: this.scheduler,
      random: this.random.fork(),
      store,
      storeLatencyMs: server.storeLatencyMs,
      maxDeltaBytes: server.maxDeltaBytes,
      auth: server.isOpen ? new NoAuthProvider() : this.#auth(),
      limits: server.limits,
      batchSize: server.batchSize,
      clockMs,
      schemaVersion: () => this.schema.version,
      onCommitted: (author) => this.#announce(author),
      onLog: (level, message, fields) => this.#onLog(level, message, fields),
    })
  }

  /** Announcements come late, in another order, or not at all. */
  #announce(author: Server): void {
    for (const server of this.servers) {
      if (server === author || this.random.chance(0.2)) continue
      this.scheduler.schedule(this.random.skewed(0, 3_000), this.owner, () => server.announce())
    }
  }

  #onLog(level: keyof Logger, message: string, fields: LogFields): void {
    this.note(`[${level}] ${message} ${this.trace === null ? '' : describe(fields)}`)
    if (message.includes('too old to be told')) this.droppedIds.add(String(fields.operationId))
    if (message.includes('programming error') || isProgrammingError(fields.err)) {
      this.alarms.push(`${message}: ${(fields.err as Error).stack}`)
    }
  }

  // ── tokens ─────────────────────────────────────────────────────────────────────────────────

  #auth(): AuthProvider {
    return {
      authenticate: async (token): Promise<AuthContext | null> => {
        const [user, expires] = token.split('|')
        const expiresAt = Number(expires)
        if (user === undefined || !(expiresAt > this.scheduler.now)) return null
        const scopes = this.scopeOf(user === 'admin' ? null : (user as Tenant)) // we make the tokens
        return { userId: user, expiresAt, ...(scopes === null ? {} : { scopes }) }
      },
    }
  }

  /** Gets a new one when the old one is over, and is sometimes late with that. */
  #tokenSource(plan: DevicePlan): () => string | null {
    if (this.scenario.server.isOpen) return () => null
    let expiresAt = 0
    return () => {
      const isOver = expiresAt <= this.scheduler.now
      if (isOver && !(expiresAt > 0 && this.random.chance(0.2)))
        expiresAt = Math.floor(this.scheduler.now + this.tokenMs)
      return `${plan.tenant ?? 'admin'}|${expiresAt}`
    }
  }

  // ── devices ────────────────────────────────────────────────────────────────────────────────

  #device(plan: DevicePlan, index: number): DeviceHost {
    const owner = new TaskOwner(plan.name)
    const scope = plan.asksForScope ? this.scopeOf(plan.tenant) : null
    const host: DeviceHost = {
      plan,
      owner,
      clockMs: 0,
      link: null,
      device: new Device({
        url: '',
        name: plan.name,
        nodeId: `node-${index}`,
        token: this.#tokenSource(plan),
        schema: this.scenario.app.schema,
        isLegacy: plan.isLegacy,
        wireFormat: plan.wireFormat,
        transport: plan.isPolling ? 'polling' : 'websocket',
        reloadsAfter: ({ code }) => code === 'AUTH_FAILED', // as an app that gets a fresh token
        batchSize: plan.batchSize,
        pipelineDepth: plan.pipelineDepth,
        ackTimeoutMs: plan.ackTimeoutMs,
        reconnectMs: 50,
        ...(scope === null ? {} : { scope }),
        now: () => Math.floor(this.scheduler.now + host.clockMs),
        setTimer: (delayMs, callback) => this.scheduler.schedule(delayMs, owner, callback),
        connect: this.#connect(plan, () => host),
      }),
    }
    return host
  }

  #connect(plan: DevicePlan, hostOf: () => DeviceHost): ConnectSocket {
    return (_url, _token, handlers) => {
      const link = new Link({
        scheduler: this.scheduler,
        random: this.random.fork(),
        latencyMs: plan.latencyMs,
        isPolling: plan.isPolling,
        handlers: {
          onOpen: () => handlers.onOpen(),
          onMessage: (sent) => {
            const data = this.#mistake === null ? sent : spoilBatch(sent, this.#mistake, plan.name)
            this.note(`${plan.name} ← ${this.trace === null ? '' : summary(data)}`)
            handlers.onMessage(data)
          },
          onClose: (code, reason) => {
            this.note(`${plan.name}: closed with ${code} ${reason}`)
            handlers.onClose(code, reason)
          },
        },
        isForgotten: this.#forgetsRequests,
        onRequestLost: () => this.#returnMeanwhile(plan),
        onEnded: (ended) => void this.links.delete(ended),
      })
      this.links.add(link)
      this.requests.push(link.requests)
      hostOf().link = link
      // At the beginning a device sends what the server lacks, and keeps no queue of it.
      if (this.losesRequests && link.random.chance(0.6)) link.failRequest(link.random.integer(1, 3))
      const server = this.#route()
      this.scheduler.schedule(this.random.skewed(0.1, plan.latencyMs), link.owner, () => {
        link.server = server.hub === null ? null : server
        link.open(server.hub === null ? null : (transport) => server.accept(transport))
      })
      const socket = link.deviceSocket()
      return {
        ...socket,
        send: (data) => {
          this.note(`${plan.name} → ${this.trace === null ? '' : summary(data)}`)
          socket.send(data)
        },
      }
    }
  }

  /** While a device does not know yet that the server lacks something of it, another one comes back that has what followed. */
  #returnMeanwhile(plan: DevicePlan): void {
    this.scheduler.schedule(this.random.between(0, 10_000), this.owner, () => {
      const { link } = this.random.pick(this.devices.filter((host) => host.plan !== plan))
      link?.cut('both')
    })
  }

  /** A balancer that knows mostly, not always, which servers are up. */
  #route(): Server {
    const up = this.servers.filter(({ hub }) => hub !== null)
    return this.random.pick(up.length > 0 && this.random.chance(0.8) ? up : this.servers)
  }
}

function spoilBatch(data: string | Uint8Array, mistake: Mistake, device: string): string | Uint8Array {
  if (typeof data !== 'string') return data
  const message = JSON.parse(data)
  if (!Array.isArray(message.operations)) return data
  return JSON.stringify({ ...message, operations: mistake(message.operations, device) })
}

function isProgrammingError(error: unknown): boolean {
  return error instanceof TypeError && !error.message.includes('undefined (simulated)')
}

function describe(fields: LogFields): string {
  return JSON.stringify(fields, (_key, value) => (value instanceof Error ? String(value) : value))
}

function summary(data: string | Uint8Array): string {
  const text = typeof data === 'string' ? data : `protobuf, ${data.byteLength} bytes`
  try {
    const message = JSON.parse(text)
    if (!Array.isArray(message.operations)) return text.slice(0, 300)
    const operations = message.operations.map(
      (op: { id: string; nodeId: string; sequenceNumber: number; type: string; recordId: string }) =>
        `${op.id.slice(0, 6)}:${op.nodeId}#${op.sequenceNumber} ${op.type} ${op.recordId.slice(-4)}`,
    )
    return JSON.stringify({ ...message, operations })
  } catch {
    return text.slice(0, 200)
  }
}
