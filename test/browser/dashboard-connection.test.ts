import type { Browser, Page, Route } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { findChromium } from '../support/find-chromium.ts'
import { openBrowser, openPage } from './chromium.ts'
import {
  ADMIN_TOKEN,
  enterToken,
  openDashboard,
  type Served,
  serve,
  UNTIL_MS,
  waitUntilLive,
} from './served-dashboard.ts'

/** Longer than the page waits for anything but an answer. */
const LONG_MS = 15_000
/** Longer than the page waits for an answer without a word. */
const SILENCE_MS = 9000
/** As many readers of events as a server has at once. */
const MAX_READERS = 20

const hasChromium = findChromium() !== null
if (!hasChromium)
  console.warn('No Chromium is installed (or named by CHROMIUM_PATH): browser tests are skipped.')

describe.skipIf(!hasChromium)('the connection of the dashboard', () => {
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

  test('says why there are no events, and leaves the server alone for as long as it wants', async () => {
    await using served = await serve(':memory:')
    const readers = await openReaders(served)
    await using watched = await openPage(browser)
    const { page, complaints } = watched
    await page.clock.install()
    const askedAt = await noteQuestions(page, '/__kora/events')
    await page.goto(served.url)
    await enterToken(page, ADMIN_TOKEN)

    await page.getByText('As many readers as are served already listen').waitFor({ timeout: UNTIL_MS })
    const notices = await page.locator('.notice').allTextContents()
    const refusedAgain = page.waitForResponse('**/__kora/events')
    while (askedAt.length < 2) await page.clock.fastForward(1000)
    await refusedAgain
    const [first = 0, second = 0] = askedAt
    readers.abort()
    await page.clock.fastForward(LONG_MS)

    await waitUntilLive(page)
    expect(second - first).toBeGreaterThanOrEqual(10_000)
    expect(notices.join()).not.toContain('does not answer')
    expect(await page.locator('.notice').count()).toBe(0)
    expect(complaints).toEqual([])
  })

  test('is seen to be lost also by a page that is sent no events', async () => {
    await using served = await serve(':memory:')
    const readers = await openReaders(served)
    await using watched = await openPage(browser)
    const { page, complaints } = watched
    await page.clock.install()
    await page.goto(served.url)
    await enterToken(page, ADMIN_TOKEN)
    await page.getByText('As many readers as are served already listen').waitFor({ timeout: UNTIL_MS })

    const held: Route[] = []
    await page.route('**/__kora/api/overview', (route) => void held.push(route))
    while (held.length === 0) await page.clock.fastForward(1000)
    await page.clock.fastForward(SILENCE_MS)
    await page.getByText('The server does not answer').waitFor({ timeout: UNTIL_MS })

    readers.abort()
    await Promise.all(held.map((route) => route.continue())) // it is answered late
    await page.unroute('**/__kora/api/overview')
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

  test('says what is wrong when a proxy answers in place of the server', async () => {
    await using served = await serve(':memory:')
    await using watched = await openPage(browser)
    const { page, complaints } = watched
    const putProxyBetween = async (): Promise<void> => {
      const body = '<h1>Log in</h1>'
      await page.route('**/__kora/api/*', (route) => route.fulfill({ contentType: 'text/html', body }))
    }

    await putProxyBetween()
    await page.goto(served.url)
    await page.getByText('a proxy that asks for a login').waitFor({ timeout: UNTIL_MS })
    await page.unrouteAll()
    await page.waitForSelector('#token', { timeout: UNTIL_MS })
    await putProxyBetween()
    await enterToken(page, ADMIN_TOKEN)

    await page.getByText('a proxy that asks for a login').waitFor({ timeout: UNTIL_MS })
    await page.getByRole('button', { name: 'Open the dashboard' }).waitFor({ timeout: UNTIL_MS })
    expect(complaints).toEqual([])
  })
})

/** Readers of events from elsewhere, until they are aborted. */
async function openReaders({ host }: Served): Promise<AbortController> {
  const controller = new AbortController()
  const ask = (): Promise<Response> =>
    fetch(`http://127.0.0.1:${host.port}/__kora/events`, {
      headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
      signal: controller.signal,
    })
  const responses = await Promise.all(Array.from({ length: MAX_READERS }, ask))
  expect(responses.map(({ status }) => status)).toEqual(responses.map(() => 200))
  return controller
}

/** When the page has asked for a path, in ms of its own clock. */
async function noteQuestions(page: Page, path: string): Promise<readonly number[]> {
  const askedAt: number[] = []
  await page.exposeFunction('noteQuestion', (at: number) => askedAt.push(at))
  await page.addInitScript((wanted) => {
    const ask = window.fetch
    window.fetch = (...question) => {
      if (question[0] === wanted) Reflect.get(window, 'noteQuestion')(Date.now())
      return ask(...question)
    }
  }, path)
  return askedAt
}

/** As a browser does with the pages of the tabs that are not in front; without a window it has none such. */
async function setHidden(page: Page, isHidden: boolean): Promise<void> {
  await page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: hidden })
    document.dispatchEvent(new Event('visibilitychange'))
  }, isHidden)
}
