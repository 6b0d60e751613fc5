import { describe, expect, test } from 'vitest'
import type { AuthContext } from '../../src/auth/provider.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { HttpPolling } from '../../src/transport/http-polling.ts'
import type { HttpSyncResponse } from '../../src/transport/http-sync.ts'
import type { PollingTransport } from '../../src/transport/polling-transport.ts'
import { type SimulatedRuntime, settle, simulatedRuntime } from '../support/simulated-runtime.ts'
import { handshakeOf } from '../support/socket-client.ts'

const MINUTE_MS = 60_000
const CHECK_MS = 30_000
const HOLD_MS = 10_000

/** One client of a server whose clock stands, and the session behind it. */
class Fixture {
  readonly runtime: SimulatedRuntime = simulatedRuntime()
  /** What the token is found to be. */
  context: AuthContext | null = { userId: 'ada' }
  /** Whether that cannot be found out. */
  isAuthAway = false
  checks = 0
  closes = 0
  readonly #polling: HttpPolling
  #transport: PollingTransport | null = null

  constructor({ maxClients = 0, holdMs = 0 } = {}) {
    this.#polling = new HttpPolling({
      logger: silentLogger,
      runtime: this.runtime,
      auth: { authenticate: async () => this.#check() },
      connect: (transport) => {
        this.#transport = transport
        transport.onClose(() => this.closes++)
        return 'session'
      },
      ownerOf: () => ({ userId: 'ada' }),
      maxMessageBytes: 10_000,
      maxHandshakeBytes: 10_000,
      maxClients,
      holdMs,
    })
  }

  /** Opens its session, and is admitted to it. */
  async open(): Promise<this> {
    expect((await this.post(handshakeOf('phone'))).status).toBe(202)
    this.session.admit()
    return this
  }

  /** What the session has of its client. */
  get session(): PollingTransport {
    if (this.#transport === null) throw new Error('There is no session.')
    return this.#transport
  }

  tell(code: string): void {
    this.session.send({ type: 'error', messageId: 'e', code, message: '', retriable: true })
  }

  post(message: object, clientId = 'phone'): Promise<HttpSyncResponse> {
    return this.#polling.handle({
      clientId,
      method: 'POST',
      token: 'a',
      body: JSON.stringify(message),
    })
  }

  poll(clientId = 'phone', signal?: AbortSignal): Promise<HttpSyncResponse> {
    return this.#polling.handle({ clientId, method: 'GET', token: 'a', ...(signal && { signal }) })
  }

  stop(): void {
    this.#polling.stop()
  }

  /** A handshake that is refused. */
  async refuse(clientId: string): Promise<void> {
    expect((await this.post(handshakeOf(clientId), clientId)).status).toBe(202)
    this.tell('REFUSED')
    this.session.close()
  }

  #check(): AuthContext | null {
    this.checks++
    if (this.isAuthAway) throw new Error('the user database is away')
    return this.context
  }
}

const ACKNOWLEDGMENT = {
  type: 'acknowledgment',
  messageId: 'a',
  acknowledgedMessageId: 'x',
  lastSequenceNumber: 0,
}

const PRESENCE = { type: 'awareness-update', messageId: 'p', clientId: 1, states: {} } as const

describe('a client that has gone', () => {
  test('is forgotten when it has asked for nothing for a minute', async () => {
    const client = await new Fixture().open()
    client.tell('UNREAD')

    await client.runtime.advance(MINUTE_MS - 1)
    expect(client.closes).toBe(0)
    await client.runtime.advance(1)

    expect(client.closes).toBe(1)
    expect((await client.post(ACKNOWLEDGMENT)).status).toBe(410)
    expect((await client.poll()).status).toBe(204) // nothing of what waited
    expect((await client.poll()).status).toBe(410)
  })

  test.each([
    ['polls', (client: Fixture) => client.poll(), 204],
    ['posts', (client: Fixture) => client.post(ACKNOWLEDGMENT), 202],
  ])('is not forgotten while it %s', async (_what, ask, status) => {
    const client = await new Fixture().open()

    for (let round = 0; round < 5; round++) {
      await client.runtime.advance(MINUTE_MS - 1)
      expect((await ask(client)).status).toBe(status)
    }

    expect(client.closes).toBe(0)
    await client.runtime.advance(MINUTE_MS)
    expect(client.closes).toBe(1)
  })

  test('is forgotten when its session has ended and it has not asked why', async () => {
    const client = await new Fixture().open()
    client.tell('WHY')
    client.session.close()

    await client.runtime.advance(MINUTE_MS)

    expect((await client.poll()).status).toBe(204)
  })

  test('is a client still where its page is hidden, and asks once a minute', async () => {
    const client = await new Fixture({ holdMs: HOLD_MS }).open()

    for (let round = 0; round < 5; round++) {
      const held = client.poll()
      await settle() // its token is checked
      await client.runtime.advance(HOLD_MS)
      expect((await held).status).toBe(204)
      await client.runtime.advance(MINUTE_MS - 1)
    }
    client.tell('NEWS')

    expect(JSON.parse(String((await client.poll()).body))).toMatchObject({ code: 'NEWS' })
  })
})

describe('a poll where there is no session', () => {
  const HANDSHAKE_HOLD_MS = 3000

  /** What the client hears from polls after another. */
  async function statusesOf(client: Fixture, polls: number): Promise<number[]> {
    const statuses: number[] = []
    for (let poll = 0; poll < polls; poll++) {
      const held = client.poll()
      await settle()
      await client.runtime.advance(HANDSHAKE_HOLD_MS)
      statuses.push((await held).status)
    }
    return statuses
  }

  test('waits for a handshake for some seconds', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })
    const held = client.poll()
    await client.runtime.advance(HANDSHAKE_HOLD_MS - 1)
    await client.open()
    client.tell('NEWS')

    expect(JSON.parse(String((await held).body))).toMatchObject({ code: 'NEWS' })
  })

  test('is told that there is nothing yet, and only the next to start anew', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })

    expect(await statusesOf(client, 4)).toEqual([204, 410, 204, 410])
  })

  test('is told so after a handshake as before it', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })
    expect(await statusesOf(client, 1)).toEqual([204])
    await client.refuse('phone')
    expect((await client.poll()).status).toBe(200)
    expect((await client.poll()).status).toBe(410)

    expect(await statusesOf(client, 2)).toEqual([204, 410])
  })

  test('of a page that is hidden is told to start anew when it asks a minute later, but not after hours', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })
    expect(await statusesOf(client, 1)).toEqual([204])
    await client.runtime.advance(MINUTE_MS)
    expect(await statusesOf(client, 2)).toEqual([410, 204])

    await client.runtime.advance(60 * MINUTE_MS)

    expect(await statusesOf(client, 1)).toEqual([204])
  })

  test('is not waited with where very many are', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })
    const held = Array.from({ length: 1000 }, (_, index) => client.poll(`stranger ${index}`))
    expect((await client.poll('phone')).status).toBe(204)
    await client.runtime.advance(HANDSHAKE_HOLD_MS)
    await Promise.all(held)

    expect(await statusesOf(client, 2)).toEqual([204, 410])
  })

  test('is not waited with where several are under its id, unless they were given up', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })
    const givenUp = new AbortController()
    const held = Array.from({ length: 4 }, () => client.poll('phone', givenUp.signal))
    expect((await client.poll('phone')).status).toBe(204)
    givenUp.abort()
    await Promise.all(held)

    expect(await statusesOf(client, 2)).toEqual([204, 410])
  })

  test('is answered when the server stops', async () => {
    const client = new Fixture({ holdMs: HOLD_MS })
    const held = client.poll('phone')
    await settle()
    client.stop()

    expect((await held).status).toBe(204)
  })
})

describe('clients that are refused', () => {
  test('are told why for ten seconds', async () => {
    const client = new Fixture()
    await client.refuse('told')
    await client.refuse('gone')

    await client.runtime.advance(9999)
    expect(JSON.parse(String((await client.poll('told')).body))).toMatchObject({ code: 'REFUSED' })
    expect((await client.poll('told')).status).toBe(410)
    await client.runtime.advance(1)

    expect((await client.poll('gone')).status).toBe(204)
  })

  test('do not take the place of others', async () => {
    const client = new Fixture({ maxClients: 1 })
    for (let index = 0; index < 5; index++) await client.refuse(`stranger ${index}`)

    await client.open()

    expect((await client.post(handshakeOf('other'), 'other')).status).toBe(429)
    client.session.close()
    expect((await client.post(handshakeOf('other'), 'other')).status).toBe(202)
  })

  test('are forgotten before that, the oldest first, when they are many', async () => {
    const client = new Fixture()
    for (let index = 0; index < 10_000; index++) await client.refuse(`stranger ${index}`)

    const isKept: boolean[] = []
    for (let index = 0; index < 10_000; index++) {
      isKept.push((await client.poll(`stranger ${index}`)).status === 200)
    }

    const first = isKept.indexOf(true)
    expect(isKept.slice(first)).not.toContain(false)
    expect(isKept.length - first).toBeGreaterThan(3000)
    expect(isKept.length - first).toBeLessThan(5000)
  })
})

test('what waits for clients whose session has ended is bounded, whatever each has left unread', async () => {
  const client = new Fixture()
  const unread = { isBinary: false, bytes: Buffer.alloc(3 * 1024 * 1024, ' ') }
  for (let index = 0; index < 10; index++) {
    expect((await client.post(handshakeOf(`n${index}`), `n${index}`)).status).toBe(202)
    client.session.admit()
    client.session.sendFrame(unread, true)
    client.session.close()
  }

  const statuses: number[] = []
  for (let index = 0; index < 10; index++) statuses.push((await client.poll(`n${index}`)).status)

  expect(statuses).toEqual([204, 204, 204, 204, 204, 200, 200, 200, 200, 200])
})

describe('the token of a request', () => {
  test('is checked once for as long as a check holds, and refused at the next', async () => {
    const client = await new Fixture().open()
    expect((await client.poll()).status).toBe(204)
    client.context = null // the app takes it back without a revocation
    client.tell('SECRET')

    await client.runtime.advance(CHECK_MS - 1)
    expect((await client.poll()).status).toBe(200)
    expect(client.checks).toBe(1)
    client.tell('SECRET')
    await client.runtime.advance(1)

    expect((await client.poll()).status).toBe(401)
    expect((await client.post(ACKNOWLEDGMENT)).status).toBe(401)
  })

  test.each([3_600_000, -3_600_000])('is checked as soon where the clock is set by %i ms', async (ms) => {
    const client = await new Fixture().open()
    expect((await client.poll()).status).toBe(204)
    client.context = null

    client.runtime.stepClock(ms)
    await client.runtime.advance(CHECK_MS - 1)
    expect((await client.poll()).status).toBe(204)
    await client.runtime.advance(1)

    expect((await client.poll()).status).toBe(401)
  })

  test('is refused at its own end by a clock that is set forward', async () => {
    const client = await new Fixture().open()
    client.context = { userId: 'ada', expiresAt: client.runtime.now() + 3_600_000 }
    expect((await client.poll()).status).toBe(204)

    client.runtime.stepClock(3_600_000)

    expect((await client.poll()).status).toBe(401)
  })

  test('is refused at its own end, however lately it was checked', async () => {
    const client = await new Fixture().open()
    client.context = { userId: 'ada', expiresAt: client.runtime.now() + 5000 }
    expect((await client.poll()).status).toBe(204)
    client.tell('SECRET')

    await client.runtime.advance(5000)

    expect((await client.poll()).status).toBe(401)
    expect((await client.post(ACKNOWLEDGMENT)).status).toBe(401)
  })

  test('that cannot be judged again goes on counting, and is asked for at each next check', async () => {
    const client = await new Fixture().open()
    expect((await client.poll()).status).toBe(204)
    client.isAuthAway = true

    for (const checks of [2, 3]) {
      await client.runtime.advance(CHECK_MS)
      expect((await client.post(ACKNOWLEDGMENT)).status).toBe(202)
      expect((await client.poll()).status).toBe(204)
      expect(client.checks).toBe(checks)
    }
    client.isAuthAway = false
    client.context = null
    await client.runtime.advance(CHECK_MS)

    expect((await client.poll()).status).toBe(401)
  })

  test.each<[string, (client: Fixture) => Promise<unknown>]>([
    [
      'has ended',
      async (client) => {
        client.context = { userId: 'ada', expiresAt: client.runtime.now() + CHECK_MS }
        await client.poll()
      },
    ],
    [
      'was refused the last time',
      async (client) => {
        await client.poll()
        await client.runtime.advance(CHECK_MS - 1)
        await client.poll() // it is kept for a minute from here
        client.context = null
        await client.runtime.advance(1)
        await client.poll()
      },
    ],
    ['was never judged', async () => {}],
  ])('that cannot be judged and %s is neither served nor refused', async (_, prepare) => {
    const client = await new Fixture().open()
    await prepare(client)
    client.tell('SECRET')
    client.isAuthAway = true

    await client.runtime.advance(CHECK_MS)

    expect((await client.poll()).status).toBe(429)
    expect((await client.post(ACKNOWLEDGMENT)).status).toBe(429)
  })
})

describe('what waits when access has ended', () => {
  test('is not given out, except for the reason', async () => {
    const client = await new Fixture().open()
    client.tell('SECRET')
    client.session.withdraw()
    client.tell('REVOKED')
    client.session.close()

    expect(JSON.parse(String((await client.poll()).body))).toMatchObject({ code: 'REVOKED' })
    expect((await client.poll()).status).toBe(410)
  })

  test('is given out, or again after its connection broke, where it is an answer to the client', async () => {
    const client = await new Fixture().open()
    client.tell('LOST')
    client.tell('UNREAD')
    client.session.send(PRESENCE)
    const lost = await client.poll()
    client.session.close()
    lost.onBroken?.('unsent')

    expect(await codesLeft(client)).toEqual(['LOST', 'UNREAD'])
  })

  test('is not given out again after its connection broke where others have written it', async () => {
    const client = await new Fixture().open()
    client.session.send(PRESENCE)
    client.tell('UNREAD')
    const lost = await client.poll()
    client.session.close()
    lost.onBroken?.('unsent')

    expect(JSON.parse(String(lost.body))).toMatchObject({ type: 'awareness-update' })
    expect(await codesLeft(client)).toEqual(['UNREAD'])
  })

  test('is not given out again where its connection broke', async () => {
    const client = await new Fixture().open()
    client.tell('SECRET')
    const lost = await client.poll()
    client.session.withdraw()
    client.session.close()
    lost.onBroken?.('unsent')

    expect((await client.poll()).status).toBe(410)
  })
})

/** Of all that waits for a client whose session has ended. */
async function codesLeft(client: Fixture): Promise<string[]> {
  const told: string[] = []
  for (;;) {
    const { status, body } = await client.poll()
    if (status === 410) return told
    if (status === 200) told.push(JSON.parse(String(body)).code)
    await client.runtime.advance(1000) // after a broken poll it waits so long for a handshake
  }
}
