import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Frame } from '../../src/protocol/frame.ts'
import { Bystander, type Observation } from '../support/bystander.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { formatFrames, mutatedBatch, mutatedFrame } from '../support/fuzz/frames.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { mutatedRequest, throwRequest } from '../support/fuzz/requests.ts'
import { handshakeOf, seedOf } from '../support/socket-client.ts'
import { schemaFile } from '../support/todo-app.ts'
import { percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const FRAMES = sized(20_000, 1_000_000)
const REQUESTS = sized(20_000, 200_000)
const AT_ONCE = 40
const MAX_RSS_MIB = 256
const MAX_WAIT_MS = 20_000
/** Of what a bystander waits. The gate's machine is busy with other tests, and may take as long as it takes. */
const MAX_P99_MS = sized(MAX_WAIT_MS, 100)
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

      const observation = await bystander.during(() =>
        repeatedly(FRAMES / 4, () => throwFrames(daemon.url, mutator, recent)),
      )

      const seconds = Math.round((performance.now() - startedAt) / 1000)
      const figures = figuresOf(pid, observation)
      reportFigures('mutated frames, over sockets', { frames: FRAMES, seconds, ...figures, seed })
      expectUnharmed(figures, observation)
    },
    timeoutMs(60_000),
  )

  test(
    'survives requests and upgrades that no client sends',
    async () => {
      const seed = seedOf('raw requests')
      const mutator = new Mutator(seed)
      const { pid } = daemon
      const port = Number(new URL(daemon.url).port)

      const observation = await bystander.during(() =>
        repeatedly(REQUESTS / 2, () => throwRequest(port, mutatedRequest(mutator), mutator)),
      )

      const figures = figuresOf(pid, observation)
      reportFigures('raw requests', { requests: REQUESTS, ...figures, seed })
      expectUnharmed(figures, observation)
      expect((await fetch(`${daemon.httpUrl}/ready`)).status).toBe(200)
    },
    timeoutMs(60_000),
  )
})

/** Four frames on one connection: of a stranger, or of somebody whose handshake was accepted. */
async function throwFrames(url: string, mutator: Mutator, recent: Frame[]): Promise<void> {
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
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, 10)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(null)
    })
  })
  socket.terminate()
}
