import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { findChromium } from '../support/find-chromium.ts'
import { openBrowser, openPage } from './chromium.ts'
import { UNTIL_MS, waitUntilLive } from './served-dashboard.ts'

/** Longer than the page waits for anything but an answer. */
const LONG_MS = 15_000

describe.skipIf(findChromium() === null)('the connection of the dashboard', () => {
  let browser: Browser

  beforeAll(async () => {
    browser = await openBrowser()
  }, UNTIL_MS * 3)

  afterAll(() => browser?.close(), UNTIL_MS * 3)

  test('is seen to be lost when the server hangs, and to be back when it goes on', async () => {
    await using daemon = await startDaemon()
    await using watched = await openPage(browser)
    const { page, complaints } = watched
    await page.clock.install()
    await page.goto(`${daemon.httpUrl}/__kora`)
    await waitUntilLive(page)

    process.kill(daemon.pid, 'SIGSTOP')
    await page.clock.fastForward(LONG_MS)
    await page.getByText('The server does not answer').waitFor({ timeout: UNTIL_MS })
    process.kill(daemon.pid, 'SIGCONT')

    await waitUntilLive(page)
    expect(complaints).toEqual([])
  })
})
