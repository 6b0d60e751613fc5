import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigFolder } from '../support/config-folder.ts'
import { startDaemon } from '../support/daemon.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, SocketClient } from '../support/socket-client.ts'

const hasStrace = spawnSync('strace', ['-V']).status === 0
const hasSystemdAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0
if (!hasStrace || !hasSystemdAnalyze)
  console.log('system calls: skipped, it takes strace and systemd-analyze (package systemd)')

/** The system calls of a set such as `@system-service`, those of the sets in it included. */
function callsOfSet(name: string): string[] {
  const { status, stdout } = spawnSync('systemd-analyze', ['syscall-filter', name], { encoding: 'utf8' })
  expect(status).toBe(0)
  const members = stdout
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
  return members
    .filter((member) => /^@?\w/.test(member))
    .flatMap((member) => (member.startsWith('@') ? callsOfSet(member) : [member]))
}

/** What the unit lets its service call: line by line, as systemd reads it. What it always allows is in `@default`. */
function callsThatTheUnitAllows(): ReadonlySet<string> {
  const unit = readFileSync(new URL('../../config/kora-server.service', import.meta.url), 'utf8')
  const allowed = new Set(callsOfSet('@default'))
  for (const [, sign, sets = ''] of unit.matchAll(/^SystemCallFilter=(~?)(.+)$/gm)) {
    const calls = sets.split(' ').flatMap(callsOfSet)
    for (const call of calls) sign === '~' ? allowed.delete(call) : allowed.add(call)
  }
  return allowed
}

/** Every system call of a daemon from its start to its end; it stores an operation in between. */
async function callsOfDaemon(): Promise<string[]> {
  using folder = new ConfigFolder({ 'kora.config.ts': 'export default {}' })
  chmodSync(folder.path, 0o777)
  const file = join(folder.path, 'calls.txt')
  // The user of the service is not root, for whom SQLite also changes the owner of files.
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const launcher = ['strace', '-D', '-f', '-c', '-U', 'name', '-o', file, ...user]
  await using daemon = await startDaemon({ directory: folder.path, launcher })
  using client = await new SocketClient(daemon.url).opened()
  client.send(handshakeOf('phone', {}, { authToken: '' }))
  const operations = [new OperationAuthor('phone').insert(recordIdOf('1'), { n: 1 })]
  client.send({ type: 'operation-batch', messageId: '1', operations, isFinal: true, batchIndex: 0 })
  await client.until(() => client.ofType('acknowledgment').length === 1)
  await daemon.kill()
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => /^\w+$/.test(line) && line !== 'syscall' && line !== 'total')
}

describe.runIf(hasStrace && hasSystemdAnalyze)('config/kora-server.service', () => {
  test('allows every system call of a server', async () => {
    const allowed = callsThatTheUnitAllows()
    const calls = await callsOfDaemon()

    expect(calls).toContain('openat')
    expect(calls.filter((call) => !allowed.has(call))).toEqual([])
  }, 120_000)
})
