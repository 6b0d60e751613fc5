import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDevice } from '../support/device.ts'
import { findChromium } from '../support/find-chromium.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../support/operation-author.ts'
import { openBrowser } from './chromium.ts'
import { openDashboard, type Served, serve, UNTIL_MS } from './served-dashboard.ts'

describe.skipIf(findChromium() === null)('the pages of the dashboard', () => {
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

  test('refresh reads the number of records again', async () => {
    await using watched = await openDashboard(browser, served)
    const { page } = watched
    await page.goto(`${served.url}#/records/todos`)
    await page.getByText('0 records', { exact: true }).waitFor()
    const author = new OperationAuthor('node-a', Date.now())
    await served.store.append([requestOf(author.insert(recordIdOf('milk'), { title: 'milk' }))])

    // the server holds a count for a while
    const refreshed = async (): Promise<string | null> => {
      await page.getByRole('button', { name: 'Refresh' }).click()
      return page.locator('.page-title').textContent()
    }
    await expect.poll(refreshed, { timeout: UNTIL_MS, interval: 500 }).toContain('1 records')
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
