import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, SocketClient } from '../support/socket-client.ts'
import { reportFigures } from '../support/trust.ts'

const BATCHES = 1000
const CALLS = 'fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg'
const hasStrace = spawnSync('strace', ['-V']).status === 0
if (!hasStrace) console.log('fsync before ack: skipped, strace is not installed (apt-get install strace)')

/** Attaches to a running process. Resolves once it watches every thread. */
async function trace(pid: number, file: string): Promise<ChildProcess> {
  const strace = spawn(
    'strace',
    ['-f', '-y', '-s', '400', '-e', `trace=${CALLS}`, '-o', file, '-p', `${pid}`],
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
  /** Acknowledgments that left while something of the write-ahead log was not on the disk. */
  readonly violations: number
}

/** Reads the calls in the order in which they were made. */
function judge(calls: string): Verdict {
  let [acknowledgments, walWrites, violations] = [0, 0, 0]
  let isDirty = false
  const syncing = new Set<string>()
  for (const line of calls.split('\n')) {
    const [pid = ''] = line.split(' ', 1)
    const isWal = line.includes('.db-wal>')
    if (/ (pwrite64|write)\(/.test(line) && isWal) {
      isDirty = true
      walWrites++
    } else if (/ (fdatasync|fsync)\(/.test(line) && isWal) {
      if (line.endsWith('<unfinished ...>')) syncing.add(pid)
      else if (line.endsWith('= 0')) isDirty = false
    } else if (/(fdatasync|fsync) resumed>/.test(line) && syncing.delete(pid)) {
      if (line.endsWith('= 0')) isDirty = false
    } else if (line.includes('\\"type\\":\\"acknowledgment\\"')) {
      acknowledgments += line.split('\\"type\\":\\"acknowledgment\\"').length - 1
      if (isDirty) violations++
    }
  }
  return { acknowledgments, walWrites, violations }
}

function report(name: string, { acknowledgments, walWrites, violations }: Verdict): void {
  reportFigures(name, { acknowledgments, 'writes of the log': walWrites, 'before their sync': violations })
}

async function tracedRun(durability: 'full' | 'normal'): Promise<Verdict> {
  await using daemon = await startDaemon({
    files: {
      'kora.config.mjs': `export default { store: { driver: 'sqlite', durability: '${durability}' } }`,
    },
  })
  const file = join(daemon.directory, 'calls.txt')
  using client = await new SocketClient(daemon.url).opened()
  client.send(handshakeOf('phone', {}, { authToken: '' }))
  await client.until(() => client.ofType('operation-batch').length > 0)
  const strace = await trace(daemon.pid, file)
  const author = new OperationAuthor('phone')
  for (let number = 1; number <= BATCHES; number++) {
    const operations = [author.insert(recordIdOf(`${number}`), { n: number })]
    client.send({ type: 'operation-batch', messageId: `${number}`, operations, isFinal: true, batchIndex: 0 })
    // Now and then several at once, which are committed together.
    if (number % 5 === 0) await client.until(() => client.ofType('acknowledgment').length === number)
  }
  await client.until(() => client.ofType('acknowledgment').length === BATCHES)
  await stopTracing(strace)
  expect(existsSync(file)).toBe(true)
  return judge(readFileSync(file, 'utf8'))
}

describe.runIf(hasStrace)('what is acknowledged is on the disk', () => {
  test('with full durability, no acknowledgment leaves before the sync', async () => {
    const verdict = await tracedRun('full')

    report('fsync before acknowledgment', verdict)
    expect(verdict.acknowledgments).toBe(BATCHES)
    expect(verdict.walWrites).toBeGreaterThan(BATCHES / 10)
    expect(verdict.violations).toBe(0)
  }, 120_000)

  test('with normal durability they do, and this test sees it', async () => {
    const verdict = await tracedRun('normal')

    report('fsync before acknowledgment, durability normal', verdict)
    expect(verdict.acknowledgments).toBe(BATCHES)
    expect(verdict.violations).toBeGreaterThan(0)
  }, 120_000)
})
