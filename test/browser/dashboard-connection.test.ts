import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { findChromium } from '../support/find-chromium.ts'
import { openBrowser, openPage } from './chromium.ts'
import { openDashboard, serve, UNTIL_MS, waitUntilLive } from './served-dashboard.ts'

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

  test('asks for what is shown once the page can be seen', async () => {
    await using served = await serve(':memory:')
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched

    await setHidden(page, true)
    await page.evaluate(() => {
      location.hash = '#/records/todos'
    })
    await page.getByText('Reading…').waitFor({ timeout: UNTIL_MS })
    await setHidden(page, false)

    await page.getByText('No records here').waitFor({ timeout: UNTIL_MS })
    await waitUntilLive(page)
    expect(complaints).toEqual([])
  })
})

/** As a browser does with the pages of the tabs that are not in front; without a window it has none such. */
async function setHidden(page: Page, isHidden: boolean): Promise<void> {
  await page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: hidden })
    document.dispatchEvent(new Event('visibilitychange'))
  }, isHidden)
}
