import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Frame } from '../../src/protocol/frame.ts'
import { Bystander, type Observation } from '../support/bystander.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { formatFrames, mutatedBatch, mutatedFrame } from '../support/fuzz/frames.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { mutatedRequest, OPERATOR_PATHS, throwRequest } from '../support/fuzz/requests.ts'
import { handshakeOf, seedOf } from '../support/socket-client.ts'
import { schemaFile } from '../support/todo-app.ts'
import { percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const FRAMES = sized(90_000, 1_000_000)
const REQUESTS = sized(20_000, 200_000)
const AT_ONCE = 40
const MAX_RSS_MIB = 256
const MAX_WAIT_MS = 20_000
/** Of what a bystander waits. The gate's machine is busy with other tests, and may take as long as it takes. */
const MAX_P99_MS = sized(MAX_WAIT_MS, 100)
/** Operations that are judged, and not only refused as unreadable, of the frames that were sent. */
const MIN_OPERATIONS_SHARE = 0.1
/** Connections of which everything is known to have been read, and requests that are answered, of those not reset. */
const MIN_READ_SHARE = 0.8
/** Of those that were sent last, as many as it takes to have the one that ended the server among them. */
const MAX_RECENT = AT_ONCE * 8

const CONFIG = {
  schema: './schema.mjs',
  auth: { mode: 'custom', provider: './auth.mjs' },
  http: { staticDir: './public' },
  admin: { adminToken: 'admin' },
  limits: { maxOpsPerMinute: 0 },
}

/** A token is the JSON of what it grants, and anything else is none. */
const AUTH = `export const provider = {
  async authenticate(token) {
    try {
      const claims = JSON.parse(token)
      return typeof claims?.userId === 'string' ? claims : null
    } catch {
      return null
    }
  },
}
`

/** What attackers write is not for the bystander: it would be theirs to write it anyway. */
const BYSTANDER = JSON.stringify({ userId: 'ada', scopes: { todos: { userId: 'ada' } } })
const ATTACKER = JSON.stringify({ userId: 'mallory' })

/**
 * Up to here attackers have everything: without it, each of their thousands of connections would be sent all of the
 * log, and others would mostly wait for that.
 */
let attackersWatermark = 0

function headToldBy(answer: unknown): number | undefined {
  return Buffer.isBuffer(answer) ? JSON.parse(answer.toString()).serverMaxDeliverySequence : undefined
}

/** Does what `attack` does `count` times, some at a time. */
async function repeatedly(count: number, attack: () => Promise<void>): Promise<void> {
  let left = count
  const worker = async (): Promise<void> => {
    while (left-- > 0) await attack()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

describe('the daemon', () => {
  let daemon: Daemon
  let bystander: Bystander

  beforeAll(async () => {
    daemon = await startDaemon({
      files: {
        'auth.mjs': AUTH,
        'schema.mjs': schemaFile(),
        'kora.config.json': JSON.stringify(CONFIG),
      },
    })
    bystander = await Bystander.start({ url: daemon.url, token: BYSTANDER, maxWaitMs: MAX_WAIT_MS })
  })

  afterAll(async () => {
    await bystander[Symbol.asyncDispose]()
    await daemon[Symbol.asyncDispose]()
  })

  function askAsOperator(path: string): Promise<Response> {
    const headers = { authorization: `Bearer ${CONFIG.admin.adminToken}` }
    return fetch(`${daemon.httpUrl}${path}`, { headers })
  }

  /** Counters of the server, to tell that it has read what was thrown at it. */
  async function countersOf(): Promise<{ operationsReceived: number; errorCount: number }> {
    const response = await askAsOperator('/__kora/status')
    return (await response.json()) as { operationsReceived: number; errorCount: number }
  }

  /** What the attack came to; it is reported before it is judged, so that a failure has its figures, too. */
  function figuresOf(pid: number, { waitsMs }: Observation) {
    const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8')
    const mebibytes = (field: string): number =>
      Math.round(Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024)
    return {
      exits: daemon.pid === pid ? 0 : 1,
      'RSS, MiB': mebibytes('VmRSS'),
      'peak RSS, MiB': mebibytes('VmHWM'),
      'bystander p99, ms': Math.round(percentile(waitsMs, 0.99)),
    }
  }

  function expectUnharmed(figures: ReturnType<typeof figuresOf>, { closes }: Observation): void {
    expect(figures.exits).toBe(0)
    expect(daemon.log.filter(({ level }) => level === 'error')).toEqual([])
    expect(figures['peak RSS, MiB']).toBeLessThan(MAX_RSS_MIB)
    expect(figures['bystander p99, ms']).toBeLessThan(MAX_P99_MS)
    expect(closes).toBe(0)
  }

  test(
    'survives mutated frames, before and after authentication',
    async () => {
      const seed = seedOf('mutated frames, over sockets')
      const mutator = new Mutator(seed)
      const { pid } = daemon
      const recent: Frame[] = []
      onTestFailed(() => console.log(`Sent last, for test/crashers/frames:\n${formatFrames(recent)}`))
      const startedAt = performance.now()
      const before = await countersOf()
      let readCount = 0

      const observation = await bystander.during(() =>
        repeatedly(FRAMES / 4, async () => {
          if (await throwFrames(daemon.url, mutator, recent)) readCount++
        }),
      )

      const seconds = Math.round((performance.now() - startedAt) / 1000)
      const after = await countersOf()
      const figures = {
        ...figuresOf(pid, observation),
        'connections of which all was read': readCount,
        'operations received':
          after.operationsReceived - before.operationsReceived - observation.waitsMs.length,
        'operations and sessions refused': after.errorCount - before.errorCount,
      }
      reportFigures('mutated frames, over sockets', { frames: FRAMES, seconds, ...figures, seed })
      expectUnharmed(figures, observation)
      expect(readCount).toBeGreaterThan((FRAMES / 4) * MIN_READ_SHARE)
      expect(figures['operations received']).toBeGreaterThan(FRAMES * MIN_OPERATIONS_SHARE)
    },
    timeoutMs(360_000),
  )

  test(
    'survives requests and upgrades that no client sends',
    async () => {
      const seed = seedOf('raw requests')
      const mutator = new Mutator(seed)
      const { pid } = daemon
      const port = Number(new URL(daemon.url).port)
      for (const path of OPERATOR_PATHS) expect((await askAsOperator(path)).status, path).toBe(200)
      const counts = { reset: 0, answered: 0, closed: 0, silence: 0 }

      const observation = await bystander.during(() =>
        repeatedly(REQUESTS / 2, async () => {
          counts[await throwRequest(port, mutatedRequest(mutator), mutator)]++
        }),
      )

      const figures = figuresOf(pid, observation)
      reportFigures('raw requests', { requests: REQUESTS, ...figures, ...counts, seed })
      expectUnharmed(figures, observation)
      expect(counts.silence).toBe(0)
      expect(counts.answered).toBeGreaterThan((REQUESTS / 2 - counts.reset) * MIN_READ_SHARE)
      expect((await fetch(`${daemon.httpUrl}/ready`)).status).toBe(200)
    },
    timeoutMs(60_000),
  )
})

const HEARD_WITHIN_MS = 5000

/**
 * Four frames on one connection: of a stranger, or of somebody whose handshake was accepted.
 *
 * @returns whether the server is known to have read them
 */
async function throwFrames(url: string, mutator: Mutator, recent: Frame[]): Promise<boolean> {
  const frames: Frame[] = Array.from({ length: 4 }, () =>
    mutator.random() < 0.5 ? mutatedBatch(mutator) : mutatedFrame(mutator),
  )
  const isStranger = mutator.random() < 0.3
  const socket = new WebSocket(url).on('error', () => {})
  await new Promise((resolve) => socket.once('open', resolve).once('close', resolve))
  if (!isStranger) {
    const changes = { authToken: ATTACKER, lastDeliverySequence: attackersWatermark }
    socket.send(JSON.stringify(handshakeOf(`fuzz-${mutator.below(50)}`, {}, changes)))
    const answer = await new Promise((resolve) => socket.once('message', resolve).once('close', resolve))
    attackersWatermark = headToldBy(answer) ?? attackersWatermark
  }
  if (socket.readyState === WebSocket.OPEN) recent.push(...frames)
  recent.splice(0, recent.length - MAX_RECENT)
  for (const { bytes, isBinary } of frames) socket.send(bytes, { binary: isBinary })
  const isRead = await isHeard(socket)
  await ended(socket, 10)
  socket.terminate()
  return isRead
}

/** True when the server has read all that it was sent before, or has hung up over it. */
async function isHeard(socket: WebSocket): Promise<boolean> {
  const pong = new Promise<true>((resolve) => socket.once('pong', () => resolve(true)))
  if (socket.readyState === WebSocket.OPEN) socket.ping()
  return Promise.race([pong, ended(socket, HEARD_WITHIN_MS)])
}

/** @returns false when the server has not hung up within this time */
function ended(socket: WebSocket, withinMs: number): Promise<boolean> {
  if (socket.readyState === WebSocket.CLOSED) return Promise.resolve(true)
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), withinMs)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(true)
    })
  })
}
