import type { FieldValues, Operation } from '../../src/core/operation.ts'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import { CANARY_NAME, type CanaryFinder, OF_B } from './canary.ts'
import type { CanaryTenant } from './canary-tenant.ts'
import { connectPolling } from './device/polling.ts'
import { type ConnectSocket, connectWebSocket } from './device/socket.ts'
import { type Device, type DeviceOptions, openDevice } from './device.ts'
import { type Forgery, forge, recordsOfForger } from './forgeries.ts'
import { HostileClient, type HostileClientOptions } from './hostile-client.ts'
import { handshakeOf, type SocketServer, type TokenClaims } from './socket-client.ts'

/** What its users are called, and type. */
const FOREIGN_NAME = 'user-of-tenant-b'
const FOREIGN_UPDATE = Buffer.from(FOREIGN_NAME).toString('base64')

/** @returns the texts by which it has come to somebody: as a name, as what was typed, or as what was written */
export function foundForeign(texts: readonly string[]): string[] {
  return texts.filter((text) =>
    [FOREIGN_NAME, FOREIGN_UPDATE, '"tenant":"b"'].some((mark) => text.includes(mark)),
  )
}

export const FOREIGN_CLAIMS: TokenClaims = {
  userId: 'b',
  scopes: { todos: OF_B, notes: OF_B },
}

/** What it asks for, to be given more than is granted. */
const WISHES: readonly object[] = [
  {},
  { syncScope: { todos: {}, notes: {} } },
  { syncScope: { todos: { tenant: 'a' } } },
  { syncQueries: [{ collection: 'todos', where: { tenant: 'a' } }] },
  { syncQueries: [{ collection: 'todos', where: {} }] },
  {
    syncQueries: [{ collection: 'todos', where: { title: `${CANARY_NAME}-0` } }],
    lastDeliverySequence: 1,
  },
  { versionVector: { alice: 0, [`${CANARY_NAME}-node`]: 0 } },
]

interface Attacker {
  readonly nodeId: string
  readonly client: HostileClient
}

type Eavesdropper = Device & { readonly texts: string[] }

export type Refusal = Extract<SyncMessage, { type: 'operation-rejected' }>

/** A tenant whose every client is hostile: some write, some only listen, each in its own way. */
export class ForeignTenant implements AsyncDisposable {
  readonly #attackers: readonly Attacker[]
  /** It is told one message at a time: it attacks less often, and beside others. */
  readonly #poller: Attacker
  readonly #listeners: readonly Eavesdropper[]
  readonly #own = recordsOfForger('mallory')
  readonly #random: () => number
  #attacks = 0

  private constructor(
    { attackers, poller }: { attackers: readonly Attacker[]; poller: Attacker },
    listeners: readonly Eavesdropper[],
    random: () => number,
  ) {
    this.#attackers = attackers
    this.#poller = poller
    this.#listeners = listeners
    this.#random = random
  }

  static async connect(server: SocketServer, random: () => number): Promise<ForeignTenant> {
    const ofB = { url: server.url, token: JSON.stringify(FOREIGN_CLAIMS) }
    const pollingUrl = () => `${server.url.replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
    const attackAs = async (nodeId: string, options: Partial<HostileClientOptions> = {}, wish = {}) => {
      const handshake = handshakeOf(nodeId, FOREIGN_CLAIMS, wish)
      const how = { connect: connectWebSocket, ...ofB, ...options }
      return { nodeId, client: await HostileClient.connect(how, handshake) }
    }
    const attackers: Attacker[] = []
    for (const [index, wish] of WISHES.entries()) {
      attackers.push(await attackAs(index === 0 ? 'mallory' : `mallory${index}`, {}, wish))
    }
    attackers.push(await attackAs('alice'))
    attackers.push(await attackAs('mallory in binary', { wireFormat: 'protobuf' }))
    const poller = await attackAs('mallory who polls', { connect: connectPolling, url: pollingUrl() })
    const listeners = await Promise.all([
      eavesdrop(connectWebSocket, { ...ofB, wireFormat: 'protobuf' }),
      eavesdrop(connectWebSocket, { ...ofB, isLegacy: true }),
      eavesdrop(connectPolling, { ...ofB, url: pollingUrl() }),
    ])
    const tenant = new ForeignTenant({ attackers, poller }, listeners, random)
    await attackers[0]?.client.push(tenant.#own)
    return tenant
  }

  /** The next client tries everything that it can think of. @returns what it was told of its operations */
  attack(victim: CanaryTenant, first: number, count: number): Promise<Attack> {
    const next = this.#attackers[this.#attacks++ % this.#attackers.length] as Attacker // there are some
    return this.#attackAs(next, victim, { first, count })
  }

  /** Another one does, by polling, while the traveller is under way, of which nobody knows whose it is. */
  attackByPolling(victim: CanaryTenant, first: number, count: number): Promise<Attack> {
    const { blobHash, traveller } = victim
    const known = victim.known.filter(({ recordId }) => recordId !== traveller.recordId)
    return this.#attackAs(this.#poller, { blobHash, known }, { first, count })
  }

  async #attackAs(
    { nodeId, client }: Attacker,
    victim: Pick<CanaryTenant, 'known' | 'blobHash'>,
    { first, count }: { first: number; count: number },
  ): Promise<Attack> {
    const knowledge = {
      operations: victim.known,
      blobHash: victim.blobHash,
      nodeId,
      random: this.#random,
    }
    const forgeries = Array.from({ length: count }, (_, index) => forge(knowledge, first + index))
    const place = { collection: 'todos', recordId: this.#pick(victim.known).recordId, field: 'title' }
    const spy = { user: { name: FOREIGN_NAME, color: '#000' }, cursor: { ...place, anchor: 0, head: 0 } }
    client.send({ type: 'awareness-update', messageId: 'p', clientId: 1, states: { 1: spy } })
    client.send({ type: 'yjs-doc-update', messageId: 'y', ...place, update: FOREIGN_UPDATE })
    const operations = forgeries.flatMap(({ operation, twin }) =>
      twin === null ? [operation] : [operation, twin],
    )
    await client.push(operations)
    client.send({ type: 'blob-chunk-request', messageId: 'q', requestId: `q${first}`, hash: victim.blobHash })
    const refusals = new Map(
      client.ofType('operation-rejected').map((refusal) => [refusal.operationId, refusal]),
    )
    return { forgeries, refusals, hasSurvived: !client.isEnded }
  }

  /** Looks through all that any client was sent since the last time. @returns what it should not have been */
  takeLeaks(finder: CanaryFinder): string[] {
    const attackers = [...this.#attackers, this.#poller].map(({ client }) => client)
    const leaks = attackers.flatMap((client) =>
      client
        .ofType('blob-chunk-response')
        .filter(({ bytes }) => bytes !== null)
        .map(({ requestId }) => `the blob, to ${requestId}`),
    )
    for (const client of attackers) client.received.length = 0
    for (const { texts } of [...attackers, ...this.#listeners]) {
      leaks.push(...finder.findIn(texts))
      texts.length = 0
    }
    return leaks
  }

  /** Resolves when those who only listen have been sent what is their own tenant's: or they heard nothing. */
  async hasListened(): Promise<void> {
    for (const device of this.#listeners) {
      await device.until(
        () => this.#own.every(({ id }) => device.has(id)),
        'it has the records of its tenant',
      )
    }
  }

  /** Resolves when those who only listen hold the record as it is, which has come to their tenant. */
  async hasReceived(recordId: string, { title }: FieldValues): Promise<void> {
    for (const device of this.#listeners) {
      await device.until(() => device.record('todos', recordId)?.title === title, `it has "${title}"`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { client } of [...this.#attackers, this.#poller]) client[Symbol.dispose]()
    for (const device of this.#listeners) await device.close()
  }

  #pick<Item>(items: readonly Item[]): Item {
    return items[Math.floor(this.#random() * items.length)] as Item // random is below 1
  }
}

export interface Attack {
  readonly forgeries: readonly Forgery[]
  /** By the id of the operation. */
  readonly refusals: ReadonlyMap<string, Refusal>
  readonly hasSurvived: boolean
}

/** What differs between two refusals besides what the client itself has said. */
export function withoutIds(refusal: Refusal, { id, recordId }: Operation): string {
  return JSON.stringify({ ...refusal, messageId: '' })
    .replaceAll(id, 'ID')
    .replaceAll(recordId, 'RECORD')
}

/** A device of the other tenant that keeps every byte it is sent. */
async function eavesdrop(connect: ConnectSocket, options: DeviceOptions): Promise<Eavesdropper> {
  const texts: string[] = []
  const device = await openDevice({
    ...options,
    connect: (url, token, handlers) =>
      connect(url, token, {
        ...handlers,
        onMessage: (data) => {
          texts.push(typeof data === 'string' ? data : Buffer.from(data).toString('latin1'))
          handlers.onMessage(data)
        },
      }),
  })
  return Object.assign(device, { texts })
}
