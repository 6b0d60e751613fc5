import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, SocketClient } from '../support/socket-client.ts'
import { reportFigures } from '../support/trust.ts'

const BATCHES = 1000
const CLIENTS = 4
const AT_ONCE = 4
/** Of what a call writes: a page of the database, so that the batches in it are seen. */
const SHOWN_BYTES = 4096
const WAL = '.db-wal>'
const CALLS = 'fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg'
const hasStrace = spawnSync('strace', ['-V']).status === 0
if (!hasStrace) console.log('fsync before ack: skipped, strace is not installed (apt-get install strace)')

/** Attaches to a running process. Resolves once it watches every thread. */
async function trace(pid: number, file: string): Promise<ChildProcess> {
  const strace = spawn(
    'strace',
    ['-f', '-y', '-s', `${SHOWN_BYTES}`, '-e', `trace=${CALLS}`, '-o', file, '-p', `${pid}`],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  await new Promise<void>((resolve, reject) => {
    let output = ''
    strace.stderr?.on('data', (data) => {
      output += String(data)
      if (output.includes('attached')) resolve()
    })
    strace.on('close', () => reject(new Error(`strace ended: ${output}`)))
  })
  return strace
}

async function stopTracing(strace: ChildProcess): Promise<void> {
  const closed = new Promise((resolve) => strace.on('close', resolve))
  strace.kill('SIGINT')
  await closed
}

interface Verdict {
  readonly acknowledgments: number
  readonly walWrites: number
  /** Acknowledgments that left while their batch, or anything else of the write-ahead log, was not on the disk. */
  readonly violations: number
}

const nameOf = (batch: number) => `batch ${batch}.`
const NAMES = /batch (\d+)\./g
const ACKNOWLEDGED = /\\"acknowledgedMessageId\\":\\"(\d+)\\"/g

/** Reads the calls in the order in which they were made. */
function judge(calls: string): Verdict {
  let [acknowledgments, walWrites, violations] = [0, 0, 0]
  /** So many writes of the log are on the disk. */
  let syncedWrites = 0
  /** By the thread that waits for it, the writes that a sync covers: those before its beginning. */
  const syncing = new Map<string, number>()
  /** By batch, the first write that holds it. */
  const writes = new Map<string, number>()
  for (const line of calls.split('\n')) {
    const [pid = ''] = line.split(' ', 1)
    if (isWalWrite(line)) {
      walWrites++
      for (const [, batch = ''] of line.matchAll(NAMES)) {
        if (!writes.has(batch)) writes.set(batch, walWrites)
      }
    } else if (/ (fdatasync|fsync)\(/.test(line) && line.includes(WAL)) {
      if (line.endsWith('<unfinished ...>')) syncing.set(pid, walWrites)
      else if (line.endsWith('= 0')) syncedWrites = walWrites
    } else if (/(fdatasync|fsync) resumed>/.test(line)) {
      if (line.endsWith('= 0')) syncedWrites = Math.max(syncedWrites, syncing.get(pid) ?? 0)
      syncing.delete(pid)
    } else {
      for (const [, batch = ''] of line.matchAll(ACKNOWLEDGED)) {
        acknowledgments++
        const isOnDisk = (writes.get(batch) ?? Number.POSITIVE_INFINITY) <= syncedWrites
        if (!isOnDisk || walWrites > syncedWrites) violations++
      }
    }
  }
  return { acknowledgments, walWrites, violations }
}

function isWalWrite(line: string): boolean {
  return / (pwrite64|write)\(/.test(line) && line.includes(WAL)
}

/** The same calls, of a server that had acknowledged each batch before it wrote it. */
function acknowledgedEarly(calls: string): string {
  const isAcknowledgment = (line: string) => line.match(ACKNOWLEDGED) !== null
  const lines = calls.split('\n')
  const waiting = lines.filter(isAcknowledgment)
  return lines
    .filter((line) => !isAcknowledgment(line))
    .flatMap((line) => {
      if (!isWalWrite(line)) return [line]
      const names = new Set([...line.matchAll(NAMES)].map(([, batch = '']) => batch))
      const isDue = (ack: string) =>
        [...ack.matchAll(ACKNOWLEDGED)].some(([, batch = '']) => names.has(batch))
      const due = waiting.filter(isDue)
      for (const ack of due) waiting.splice(waiting.indexOf(ack), 1)
      return [...due, line]
    })
    .join('\n')
}

function report(name: string, { acknowledgments, walWrites, violations }: Verdict): void {
  reportFigures(name, { acknowledgments, 'writes of the log': walWrites, 'before their sync': violations })
}

async function connected(url: string, nodeId: string): Promise<SocketClient> {
  const client = await new SocketClient(url).opened()
  client.send(handshakeOf(nodeId, {}, { authToken: '' }))
  await client.until(() => client.ofType('operation-batch').length > 0)
  return client
}

/**
 * Sends them all in rounds, of each client one batch and then several: those of different clients are committed
 * together, and those of one.
 */
async function sendBatches(clients: readonly SocketClient[]): Promise<void> {
  const authors = clients.map((_, index) => new OperationAuthor(`node ${index}`))
  for (let [round, sent] = [0, 0]; sent < BATCHES; round++) {
    const due = round % 2 === 0 ? 1 : AT_ONCE
    for (const [index, client] of clients.entries()) {
      for (let count = 0; count < due; count++)
        client.send(batchOf(authors[index] as OperationAuthor, ++sent))
    }
    await Promise.all(clients.map((client) => untilAnswered(client, sent / clients.length)))
  }
}

function batchOf(author: OperationAuthor, number: number): object {
  const operations = [author.insert(recordIdOf(`${number}`), { title: nameOf(number) })]
  return { type: 'operation-batch', messageId: `${number}`, operations, isFinal: true, batchIndex: 0 }
}

function untilAnswered(client: SocketClient, batches: number): Promise<void> {
  return client.until(() => client.ofType('acknowledgment').length === batches)
}

/** @returns the calls that the server makes while it is sent batches */
async function tracedRun(durability: 'full' | 'normal'): Promise<string> {
  await using daemon = await startDaemon({
    files: {
      'kora.config.mjs': `export default { store: { driver: 'sqlite', durability: '${durability}' } }`,
    },
  })
  const file = join(daemon.directory, 'calls.txt')
  const clients: SocketClient[] = []
  for (let index = 0; index < CLIENTS; index++) clients.push(await connected(daemon.url, `node ${index}`))
  const strace = await trace(daemon.pid, file)
  await sendBatches(clients)
  await stopTracing(strace)
  for (const client of clients) client[Symbol.dispose]()
  expect(existsSync(file)).toBe(true)
  return readFileSync(file, 'utf8')
}

describe.runIf(hasStrace)('what is acknowledged is on the disk', () => {
  test('with full durability, no acknowledgment leaves before the sync', async () => {
    const calls = await tracedRun('full')
    const verdict = judge(calls)

    report('fsync before acknowledgment', verdict)
    expect(verdict.acknowledgments).toBe(BATCHES)
    expect(verdict.walWrites).toBeGreaterThan(BATCHES / 10)
    expect(verdict.violations).toBe(0)
    // This test sees an acknowledgment that leaves before its batch is written, whatever else is on the disk.
    const early = judge(acknowledgedEarly(calls))
    expect(early).toEqual({ ...verdict, violations: BATCHES })
  }, 120_000)

  test('with normal durability they do, and this test sees it', async () => {
    const verdict = judge(await tracedRun('normal'))

    report('fsync before acknowledgment, durability normal', verdict)
    expect(verdict.acknowledgments).toBe(BATCHES)
    expect(verdict.violations).toBeGreaterThan(0)
  }, 120_000)
})
