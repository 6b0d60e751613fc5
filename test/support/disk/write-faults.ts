import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Operation } from '../../../src/core/operation.ts'
import { createSqliteServerStore } from '../../../src/index.ts'
import { findViolations } from '../checker.ts'
import { OperationAuthor, recordIdOf } from '../operation-author.ts'
import { handshakeOf, SocketClient, startSocketServer } from '../socket-client.ts'
import { integrityOf } from '../sqlite-file.ts'
import { todoSchema } from '../todo-app.ts'
import { DiskControl, type FailingCall } from './disk-shim.ts'

/** What the process is told to try: argument 1, as JSON. It runs under the shim. */
export interface WriteFaultOrder {
  readonly directory: string
  readonly control: string
  readonly faults: readonly WriteFault[]
}

export interface WriteFault {
  readonly call: FailingCall
  /** The how manieth call fails; 0: none. */
  readonly at: number
  readonly errno: number
}

/** One line of JSON on stdout for each fault. */
export interface WriteFaultVerdict extends WriteFault {
  /** Writes before that of the first operation. */
  readonly writesToOpen: number
  /** How many calls were made to fail. */
  readonly failed: number
  readonly writes: number
  readonly syncs: number
  /** What whoever met it was told: the code of an error. */
  readonly told: readonly string[]
  readonly problems: readonly string[]
}

const BATCH = 5
const MAX_ATTEMPTS = 5
/** In place of a code, where the connection ended and no error said why. */
const CUT_OFF = 'cut off without a word'

/** What becomes of the operations of one try. */
interface Outcome {
  readonly acknowledged: Set<string>
  readonly told: string[]
  /** Called before the first operation is sent, each time. */
  readonly onReady: () => void
}

const author = new OperationAuthor('phone')
const operations: readonly Operation[] = Array.from({ length: 200 }, (_, index) =>
  author.insert(recordIdOf(`${index}`), {
    title: `title ${index} ${'x'.repeat(500)}`,
    done: false,
    count: 0,
    tags: [],
  }),
)

/** 200 operations over a socket into a new store, one write or sync of which fails. */
async function tryFault(order: WriteFaultOrder, fault: WriteFault): Promise<WriteFaultVerdict> {
  using control = new DiskControl(order.control, { isNew: false })
  const filename = join(order.directory, 'store.db')
  rmSync(order.directory, { recursive: true, force: true })
  mkdirSync(order.directory)
  const told: string[] = []
  const acknowledged = new Set<string>()
  let writesToOpen: number | null = null
  const onReady = (): void => {
    writesToOpen ??= control.counts().writes
  }
  control.arm(fault.call, fault.at, fault.errno)
  for (let attempt = 0; acknowledged.size < operations.length && attempt < MAX_ATTEMPTS; attempt++) {
    try {
      await writeAll(filename, { acknowledged, told, onReady })
    } catch (error) {
      told.push((error as { code?: string }).code ?? String(error)) // it does not open: the next start is to
    }
  }
  const counts = control.counts()
  control.arm('write', 0, 0)
  const problems = await findProblems(filename, acknowledged).catch((error) => [String(error)])
  return { ...fault, ...counts, writesToOpen: writesToOpen ?? counts.writes, told, problems }
}

async function writeAll(filename: string, outcome: Outcome): Promise<void> {
  const store = createSqliteServerStore({ filename })
  try {
    await store.setSchema(todoSchema)
    await using server = await startSocketServer({ store } as Parameters<typeof startSocketServer>[0])
    const { acknowledged } = outcome
    for (let attempt = 0; acknowledged.size < operations.length && attempt < MAX_ATTEMPTS; attempt++) {
      await writeRest(server.url, outcome)
    }
  } finally {
    await store.close()
  }
}

/** What is not acknowledged is sent again, as a device does that was cut off. */
async function writeRest(url: string, { acknowledged, told, onReady }: Outcome): Promise<void> {
  using client = await new SocketClient(url).opened()
  client.send(handshakeOf('phone'))
  await client.until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
  onReady()
  const waiting = operations.filter(({ id }) => !acknowledged.has(id))
  for (let start = 0; start < waiting.length && !client.isEnded; start += BATCH) {
    const batch = waiting.slice(start, start + BATCH)
    const messageId = `m${start}`
    client.send({ type: 'operation-batch', messageId, operations: batch, isFinal: true, batchIndex: 0 })
    const answer = () => client.ofType('acknowledgment').find((a) => a.acknowledgedMessageId === messageId)
    await client.until(() => answer() !== undefined)
    if (answer() !== undefined) for (const { id } of batch) acknowledged.add(id)
  }
  const errors = client.ofType('error').map(({ code }) => code)
  told.push(...(client.isEnded && errors.length === 0 ? [CUT_OFF] : errors))
}

/** Of the next start, on a disk that works. */
async function findProblems(filename: string, acknowledged: ReadonlySet<string>): Promise<string[]> {
  const integrity = integrityOf(filename)
  if (integrity !== 'ok') return [integrity]
  const store = createSqliteServerStore({ filename })
  try {
    await store.setSchema(todoSchema)
    const log = await store.getOperationsAfterDelivery(0, 10_000)
    const stored = new Set(log.map(({ operation }) => operation.id))
    const damage: string[] = []
    await store.findDamage({ onDamage: ({ place, problem }) => damage.push(`${place}: ${problem}`) })
    return [
      ...damage,
      ...[...acknowledged]
        .filter((id) => !stored.has(id))
        .map((id) => `${id} is acknowledged and not stored`),
      ...(acknowledged.size === operations.length
        ? []
        : [`only ${acknowledged.size} operations were ever acknowledged`]),
      ...(await findViolations({ store, devices: [], collections: ['todos'] })),
    ]
  } finally {
    await store.close()
  }
}

const order = JSON.parse(process.argv[2] ?? '{}') as WriteFaultOrder
for (const fault of order.faults) process.stdout.write(`${JSON.stringify(await tryFault(order, fault))}\n`)
