import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { DiskShim, hasDiskShim } from '../support/disk/disk-shim.ts'
import { type DiskEvent, parseDiskJournal, SimulatedDisk } from '../support/disk/simulated-disk.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, randomOf, SocketClient, seedOf } from '../support/socket-client.ts'
import { integrityOf } from '../support/sqlite-file.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const CLIENTS = 3
const BATCHES = 100 // of each client: they fill the write-ahead log more than once, so that it is checkpointed
const BATCHES_AFTER_RESTART = 20
const PIPELINED = 4
const TITLE = 'x'.repeat(20_000)

const seed = seedOf('power cut')

/** What one server did to its disk, and which operations each message carried. */
interface Recording {
  readonly events: readonly DiskEvent[]
  readonly operationIds: ReadonlyMap<string, readonly string[]>
}

/** A client that inserts and updates. Its message ids are its own. */
class Writer {
  readonly #author: OperationAuthor
  readonly #operationIds: Map<string, readonly string[]>
  #count = 0

  constructor(name: string, operationIds: Map<string, readonly string[]>) {
    this.#author = new OperationAuthor(name)
    this.#operationIds = operationIds
  }

  async write(url: string, batches: number): Promise<void> {
    const { nodeId } = this.#author
    using client = await new SocketClient(url).opened()
    client.send(handshakeOf(nodeId, {}, { authToken: '', lastDeliverySequence: 1e12 }))
    await client.until(() => client.ofType('handshake-response').length > 0)
    for (let sent = 1; sent <= batches; sent++) {
      const operations = this.#next()
      const messageId = `${nodeId}-${this.#count}`
      this.#operationIds.set(
        messageId,
        operations.map(({ id }) => id),
      )
      client.send({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
      await client.until(() => client.ofType('acknowledgment').length > sent - PIPELINED)
    }
    await client.until(() => client.ofType('acknowledgment').length === batches)
    expect(client.isEnded).toBe(false)
  }

  #next(): Operation[] {
    const recordId = recordIdOf(`${this.#author.nodeId} ${++this.#count}`)
    const previous = recordIdOf(`${this.#author.nodeId} ${Math.ceil(this.#count / 3)}`)
    const data = { title: TITLE, done: false, count: this.#count, tags: [] }
    return [this.#author.insert(recordId, data), this.#author.update(previous, { count: -this.#count })]
  }
}

async function record(
  shim: DiskShim,
  { durability, batches }: { durability: 'full' | 'normal'; batches: number },
): Promise<Recording> {
  const directory = join(shim.directory, durability)
  const journal = join(shim.directory, `${durability}.journal`)
  mkdirSync(directory)
  const operationIds = new Map<string, readonly string[]>()
  const writers = Array.from({ length: CLIENTS }, (_, index) => new Writer(`phone-${index}`, operationIds))
  await using daemon: Daemon = await startDaemon({
    directory,
    files: {
      'schema.mjs': schemaFile(),
      'kora.config.mjs': `export default { schema: './schema.mjs', store: { driver: 'sqlite', durability: '${durability}' } }`,
    },
    env: shim.recording(join(directory, 'kora-server.db'), journal),
  })
  await Promise.all(writers.map((writer) => writer.write(daemon.url, batches)))
  await daemon.restart()
  await Promise.all(writers.map((writer) => writer.write(daemon.url, BATCHES_AFTER_RESTART)))
  await daemon.kill('SIGKILL')
  return { events: parseDiskJournal(readFileSync(journal)), operationIds }
}

interface Verdict {
  readonly lost: number
  readonly acknowledged: number
  readonly violations: readonly string[]
}

/** Cuts the power at random moments of what was recorded, and looks at what each leaves. */
async function cutOften(
  { events, operationIds }: Recording,
  cuts: number,
  judge: (files: ReadonlyMap<string, Buffer>, acknowledged: ReadonlySet<string>) => Promise<Verdict>,
): Promise<Verdict[]> {
  const random = randomOf(seed)
  const moments = Array.from({ length: cuts }, () => momentOf(events, random)).sort((a, b) => a - b)
  const disk = new SimulatedDisk()
  const acknowledged = new Set<string>()
  const verdicts: Verdict[] = []
  for (const [index, event] of events.entries()) {
    while (moments[0] === index) {
      moments.shift()
      verdicts.push(await judge(disk.afterCut(random), acknowledged))
    }
    disk.apply(event)
    if (event.kind !== 'acknowledged') continue
    for (const [, messageId = ''] of event.bytes
      .toString('latin1')
      .matchAll(/"acknowledgedMessageId":"([^"]+)"/g))
      for (const id of operationIds.get(messageId) ?? []) acknowledged.add(id)
  }
  return verdicts
}

/** Every third right after an acknowledgment, every third while the database itself is written. */
function momentOf(events: readonly DiskEvent[], random: () => number): number {
  const start = Math.floor(random() * events.length)
  const aim = random() * 3
  const isHit = ({ kind, name }: DiskEvent): boolean =>
    aim < 1
      ? kind === 'acknowledged'
      : aim < 2
        ? name === '' && kind !== 'acknowledged' && kind !== 'directory'
        : true
  const offset = events.slice(start).findIndex(isHit)
  return offset === -1 ? start : start + offset + (aim < 1 ? 1 : 0)
}

/** Opens what the cut left as the next start does. */
async function judgeIn(
  directory: string,
  files: ReadonlyMap<string, Buffer>,
  acknowledged: ReadonlySet<string>,
): Promise<Verdict> {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory)
  const path = join(directory, 'cut.db')
  for (const [name, content] of files) writeFileSync(`${path}${name}`, content)
  const integrity = integrityOf(path)
  if (integrity !== 'ok') return { lost: 0, acknowledged: acknowledged.size, violations: [integrity] }
  const store = createSqliteServerStore({ filename: path })
  try {
    await store.setSchema(todoSchema)
    const log = await store.getOperationsAfterDelivery(0, 1_000_000)
    const stored = new Set(log.map(({ operation }) => operation.id))
    const gaps = log.filter(({ deliverySequence }, index) => deliverySequence !== index + 1)
    return {
      lost: [...acknowledged].filter((id) => !stored.has(id)).length,
      acknowledged: acknowledged.size,
      violations: [
        ...gaps.map(({ deliverySequence }) => `a gap before ${deliverySequence}`),
        ...(await findViolations({ store, devices: [], collections: ['todos'] })),
      ],
    }
  } finally {
    await store.close()
  }
}

describe.runIf(hasDiskShim('power cut'))('a power cut at any moment', () => {
  test(
    'loses nothing that was acknowledged, and leaves a sound database',
    async () => {
      using shim = new DiskShim()
      const recording = await record(shim, { durability: 'full', batches: BATCHES })

      const directory = join(shim.directory, 'cut')
      const verdicts = await cutOften(recording, sized(50, 500), (files, acknowledged) =>
        judgeIn(directory, files, acknowledged),
      )

      const checkpoints = recording.events.filter(({ kind, name }) => kind === 'synced' && name === '').length
      reportFigures('power cut', {
        'cut points': verdicts.length,
        'disk events': recording.events.length,
        'syncs of the database file': checkpoints,
        'acknowledged operations lost': verdicts.reduce((sum, { lost }) => sum + lost, 0),
      })
      expect(verdicts).toHaveLength(sized(50, 500))
      expect(verdicts.filter(({ lost, violations }) => lost > 0 || violations.length > 0)).toEqual([])
      expect(verdicts.at(-1)?.acknowledged).toBeGreaterThan(BATCHES)
      expect(checkpoints).toBeGreaterThan(2) // else the most delicate moments were none of them
    },
    timeoutMs(300_000),
  )

  test(
    'loses acknowledged operations with normal durability, and this test sees it',
    async () => {
      using shim = new DiskShim()
      const recording = await record(shim, { durability: 'normal', batches: BATCHES / 4 })

      const directory = join(shim.directory, 'cut')
      const verdicts = await cutOften(recording, 8, (files, acknowledged) =>
        judgeIn(directory, files, acknowledged),
      )

      expect(verdicts.reduce((sum, { lost }) => sum + lost, 0)).toBeGreaterThan(0)
      expect(verdicts.flatMap(({ violations }) => violations)).toEqual([]) // what is left is sound
    },
    timeoutMs(300_000),
  )
})
