import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { sleep } from '../support/cluster.ts'
import { type Daemon, startDaemon, temporaryDirectory } from '../support/daemon.ts'
import { recordIdOf, withId } from '../support/operation-author.ts'
import { SocketClient } from '../support/socket-client.ts'
import { IS_FULL, reportFigures } from '../support/trust.ts'
import { operation } from '../support/wire-operations.ts'

/** Of Debian's package `libfaketime`, which `faketime` takes with it. */
const LIBRARY = `/usr/lib/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu/faketime/libfaketime.so.1`
const HOUR = 3_600_000
const YEAR = 365 * 24 * HOUR
const SKEWS = [-10 * YEAR, -48 * HOUR, -HOUR, 0, 50_000, 90_000, HOUR, 48 * HOUR, 10 * YEAR]
const STEPS = [0, -HOUR, 24 * HOUR]
/** In which who acknowledges nothing is closed, although the clock was set back: waited for at full size. */
const MUTE_MS = 60_000

/** Until a daemon has noticed that its clock was stepped, and how exactly that is asked. */
const STEPPED_MS = 30_000
const CLOSE_ENOUGH_MS = 10_000

const hasLibrary = existsSync(LIBRARY)
if (!hasLibrary) console.log('clock of the host: skipped, there is no libfaketime (apt-get install faketime)')

// The same on a simulated clock is in clock-skew.test.ts.
test.runIf(hasLibrary)(
  'a daemon whose machine steps its clock back and forth wedges nobody and turns no order round',
  async () => {
    const directory = await temporaryDirectory()
    const clockFile = `${directory}/clock`
    await writeFile(clockFile, '+0')
    await using daemon = await startDaemon({
      env: {
        LD_PRELOAD: LIBRARY,
        FAKETIME_TIMESTAMP_FILE: clockFile,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      },
    })
    const reader = await connect(daemon.url, 'reader')
    const clients = await Promise.all(SKEWS.map((_, i) => connect(daemon.url, `phone${i}`)))
    const expectedIds: string[] = []
    let made = 0

    for (const step of STEPS) {
      const mute = IS_FULL && step < 0 ? await connect(daemon.url, 'mute', { acknowledges: false }) : null
      await writeFile(clockFile, `${step < 0 ? '' : '+'}${step / 1000}`)
      await untilClockReads(daemon, step)
      for (const [i, client] of clients.entries()) {
        made++
        const nodeId = `phone${i}`
        const skew = SKEWS[i] ?? 0
        const write: Operation = withId(
          operation({
            nodeId,
            recordId: recordIdOf(`${made}`),
            timestamp: { wallTime: Date.now() + step + skew, logical: 0, nodeId },
            sequenceNumber: made,
          }),
        )
        const acknowledged = client.ofType('acknowledgment').length
        client.send({
          type: 'operation-batch',
          messageId: `${made}`,
          operations: [write],
          isFinal: true,
          batchIndex: 0,
        })
        await client.until(() => client.ofType('acknowledgment').length > acknowledged)
        const refusal = client
          .ofType('operation-rejected')
          .find(({ operationId }) => operationId === write.id)
        if (skew > 60_000) expect(refusal).toMatchObject({ code: 'INVALID_TIMESTAMP' })
        else {
          expect(refusal).toBeUndefined()
          expectedIds.push(write.id)
        }
        expect(client.isEnded).toBe(false)
      }
      if (mute === null) continue
      await Promise.race([mute.ended, sleep(MUTE_MS)])
      expect(mute.isEnded).toBe(true)
    }

    const deliveredIds = () =>
      reader.ofType('operation-batch').flatMap(({ operations }) => operations.map(({ id }) => id))
    await reader.until(() => deliveredIds().length >= expectedIds.length)
    expect(deliveredIds()).toEqual(expectedIds)
    expect(reader.isEnded).toBe(false)
    reportFigures('clock of the host', {
      steps: STEPS.length,
      'clients with wrong clocks': SKEWS.length,
      operations: made,
    })
    for (const client of [reader, ...clients]) client.socket.terminate()
  },
  240_000,
)

/** Resolves when the daemon's clock is off by so much. What it says the time is, it reads once a second. */
async function untilClockReads({ httpUrl }: Daemon, aheadMs: number): Promise<void> {
  const offMs = async (): Promise<number> => {
    const { headers } = await fetch(`${httpUrl}/live`)
    return Math.abs(Date.parse(headers.get('date') ?? '') - Date.now() - aheadMs)
  }
  await expect.poll(offMs, { timeout: STEPPED_MS, interval: 100 }).toBeLessThan(CLOSE_ENOUGH_MS)
}

async function connect(
  url: string,
  nodeId: string,
  { acknowledges = true }: { acknowledges?: boolean } = {},
): Promise<SocketClient> {
  const client = await new SocketClient(url).opened()
  client.acknowledges = acknowledges
  client.send({
    type: 'handshake',
    messageId: 'h',
    nodeId,
    versionVector: {},
    schemaVersion: 1,
    lastDeliverySequence: 0,
  })
  await client.until(() => client.ofType('operation-batch').length > 0)
  return client
}
