import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDevice } from '../support/device.ts'
import { findChromium } from '../support/find-chromium.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../support/operation-author.ts'
import { openBrowser, openPage } from './chromium.ts'
import { ADMIN_TOKEN, enterToken, openDashboard, type Served, serve, UNTIL_MS } from './served-dashboard.ts'

/** Of text and what is behind it. @see WCAG 2.2, 1.4.3 */
const MIN_CONTRAST = 4.5

const hasChromium = findChromium() !== null

describe.skipIf(!hasChromium)('the pages of the dashboard', () => {
  let browser: Browser
  let directory: string
  let served: Served

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'kora-dashboard-'))
    browser = await openBrowser()
    served = await serve(join(directory, 'kora.db'), 0)
  }, UNTIL_MS * 3)

  afterAll(async () => {
    await browser?.close()
    await served?.[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  }, UNTIL_MS * 3)

  test('the size of a store that does not answer is not known, which is not that it is on no disk', async () => {
    await using lost = await serve(join(directory, 'lost.db'))
    await using watched = await openDashboard(browser, lost)
    const { page } = watched
    const store = page.locator('.tiles > div', { hasText: 'Store' })
    await store.getByText('on disk', { exact: true }).waitFor()

    await lost.store.close()

    await store.getByText('not known now').waitFor()
  })

  test('the clock of the browser does not count for how long a session has been connected', async () => {
    await using watched = await openDashboard(browser, served)
    const { page } = watched
    await using device = await openDevice({ url: served.host.syncUrl ?? '', token: 'ana' })
    await device.synced()

    await page.clock.setFixedTime(Date.now() + 5 * 3600_000)
    await page.goto(`${served.url}#/sessions`)

    const connected = page.locator('td[data-label=Connected]').first()
    await connected.waitFor()
    expect(await connected.textContent()).toMatch(/^\d+ (s|min)$/)
  })

  test.each(['light', 'dark'] as const)('what is empty can be read, %s', async (colorScheme) => {
    const author = new OperationAuthor('node-empty', Date.now())
    await served.store.append([requestOf(author.insert(recordIdOf('empty'), { title: '' }))])
    await using watched = await openDashboard(browser, served, { colorScheme })
    const { page } = watched
    await page.goto(`${served.url}#/records/todos`)

    const empty = page.locator('.records .value.null').first()
    await empty.waitFor()
    const colours = await empty.evaluate((element) => {
      const panel = element.closest('.scroll') ?? document.body
      return [getComputedStyle(element).color, getComputedStyle(panel).backgroundColor]
    })

    const [text = 0, background = 0] = colours.map(luminanceOf)
    const contrast = (Math.max(text, background) + 0.05) / (Math.min(text, background) + 0.05)
    expect(contrast).toBeGreaterThanOrEqual(MIN_CONTRAST)
  })

  test('refresh reads the number of records again', async () => {
    await using watched = await openDashboard(browser, served)
    const { page } = watched
    await page.goto(`${served.url}#/records/todos`)
    const count = page.getByText(/^\d+ records?$/)
    await count.waitFor()
    const before = Number.parseInt((await count.textContent()) ?? '', 10)
    const author = new OperationAuthor('node-a', Date.now())
    await served.store.append([requestOf(author.insert(recordIdOf('milk'), { title: 'milk' }))])

    // the server holds a count for a while
    const refreshed = async (): Promise<string | null> => {
      await page.getByRole('button', { name: 'Refresh' }).click()
      return page.locator('.page-title').textContent()
    }
    await expect.poll(refreshed, { timeout: UNTIL_MS, interval: 500 }).toContain(`${before + 1} records`)
  })

  test('another order or filter reads the number of records again', async () => {
    await using watched = await openDashboard(browser, served)
    const { page } = watched
    await page.goto(`${served.url}#/records/todos`)
    const title = page.locator('.page-title')
    await title.getByText(/^\d+ records?$/).waitFor()
    const before = Number.parseInt((await title.getByText(/^\d+ records?$/).textContent()) ?? '', 10)
    const author = new OperationAuthor('node-order', Date.now())
    await served.store.append([requestOf(author.insert(recordIdOf('order'), { title: 'order' }))])

    // the server holds a count for a while
    const reordered = async (): Promise<string | null> => {
      await page.locator('th', { hasText: 'title' }).getByRole('button').click()
      return title.textContent()
    }
    await expect.poll(reordered, { timeout: UNTIL_MS, interval: 500 }).toContain(`${before + 1} records`)
  })

  test('the axis of the connections counts whole ones', async () => {
    await using watched = await openPage(browser)
    const { page } = watched
    await page.addInitScript(() => {
      const { fillText } = CanvasRenderingContext2D.prototype
      CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        this.canvas.dataset.drawn = `${this.canvas.dataset.drawn ?? ''} ${text}`
        fillText.call(this, text, ...place)
      }
    })
    await page.goto(served.url)
    await enterToken(page, ADMIN_TOKEN)

    const canvas = page.locator('.chart', { hasText: 'Connections' }).locator('canvas')
    const drawn = async (): Promise<readonly string[]> =>
      ((await canvas.getAttribute('data-drawn')) ?? '').split(' ').filter((text) => /^\d+$/.test(text))
    await expect.poll(drawn, { timeout: UNTIL_MS }).toContain('1')

    expect((await drawn()).join()).not.toContain('1,1')
  })

  test('the search of sessions is that of the address', async () => {
    await using watched = await openDashboard(browser, served)
    const { page } = watched
    const box = page.getByPlaceholder('User, node or address')
    await page.goto(`${served.url}#/sessions`)
    await box.fill('ana')
    await page.waitForURL(/search=ana/)

    await page.getByRole('link', { name: 'Sessions' }).click()
    await expect.poll(() => box.inputValue(), { timeout: UNTIL_MS }).toBe('')
    await page.goBack()
    await expect.poll(() => box.inputValue(), { timeout: UNTIL_MS }).toBe('ana')
  })

  test('what is chosen while a search waits for more to be typed stays chosen', async () => {
    await using watched = await openDashboard(browser, served)
    const { page } = watched
    await page.goto(`${served.url}#/sessions`)

    await page.getByPlaceholder('User, node or address').fill('ana')
    await page.getByLabel('State').selectOption('syncing')

    await page.waitForURL(/search=ana/)
    expect(page.url()).toContain('state=syncing')
    expect(await page.getByLabel('State').inputValue()).toBe('syncing')
  })
})

/** @param colour `rgb(r, g, b)`, as a browser computes it */
function luminanceOf(colour: string): number {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map((channel) => {
    const value = Number(channel) / 255
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}
