import { expect, test } from 'vitest'
import { SessionDirectory } from '../../../src/http/dashboard/session-directory.ts'
import { openRelayServer } from '../../support/relay-server.ts'

test.each([3_600_000, -3_600_000])(
  'how long a session is connected does not change when the clock is set by %s ms',
  async (stepMs) => {
    const { connect, runtime, server } = openRelayServer()
    const directory = new SessionDirectory(() => server.hub, runtime)
    await connect('reader')
    await runtime.advance(5000)

    runtime.stepClock(stepMs)
    const page = await directory.page({ offset: 0, limit: 10, search: '', state: null, order: 'connected' })

    expect(page.sessions).toMatchObject([{ nodeId: 'reader', connectedMs: 5000 }])
  },
)
