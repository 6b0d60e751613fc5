import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServerStore } from '../../src/store/store.ts'
import { type Device, openDevice } from '../support/device.ts'
import { findChromium } from '../support/find-chromium.ts'
import { MemoryTransport } from '../support/memory-transport.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../support/operation-author.ts'
import { sized } from '../support/trust.ts'
import { openBrowser, openPage } from './chromium.ts'
import {
  ADMIN_TOKEN,
  enterToken,
  openDashboard,
  type Served,
  serve,
  todoSchema,
  UNTIL_MS,
} from './served-dashboard.ts'

const hasChromium = findChromium() !== null
if (!hasChromium)
  console.warn('No Chromium is installed (or named by CHROMIUM_PATH): browser tests are skipped.')

const MANY_SESSIONS = 10_000
const MANY_OPERATIONS = sized(100_000, 1_000_000)
const OPERATIONS_PER_USER = 20

const HOSTILE = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '"><svg onload=alert(1)>',
  "javascript:alert(1)//'",
  '{{constructor.constructor("alert(1)")()}}',
  '<style>body{display:none}</style>',
  '<base href="https://evil.test/"><form action="https://evil.test/"><button>',
  '\u202Egnp.exe\u0007\u001b[2J',
  '__proto__',
]

/** What the texts above would become, and the pages have nowhere. */
const MARKUP = 'main script, main img, main svg, main style, main base, main form'

describe.skipIf(!hasChromium)('the dashboard in a browser', () => {
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

  test('asks for the token, says what is wrong with another, and keeps the right one out of every storage', async () => {
    await using watched = await openPage(browser)
    const { page, complaints } = watched
    await page.goto(served.url)

    await enterToken(page, 'wrong')
    await page.getByText('This token does not open this endpoint.').waitFor()
    await enterToken(page, 'žeton')
    await page.getByText('The token has a character that cannot be sent').waitFor()
    await enterToken(page, ADMIN_TOKEN)
    await page.waitForSelector('.tiles')

    const kept = await page.evaluate(async () => ({
      cookie: document.cookie,
      local: JSON.stringify(localStorage),
      session: JSON.stringify(sessionStorage),
      databases: (await indexedDB.databases()).length,
      address: location.href,
      html: document.documentElement.outerHTML,
    }))
    expect(kept).toMatchObject({ cookie: '', local: '{}', session: '{}', databases: 0 })
    expect(kept.address + kept.html).not.toContain('canary')
    await page.reload()
    await page.waitForSelector('#token')
    expect(complaints).toEqual([])
  })

  test('shows what devices write as it happens', async () => {
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched
    await using device = await openTestDevice(served, 'ana')

    const id = device.insert('todos', { title: 'milk' })
    await page.getByText(id).waitFor({ timeout: UNTIL_MS })
    await page.waitForFunction(
      () => document.querySelector('.tiles')?.textContent?.includes('1 since the start'),
      null,
      { timeout: UNTIL_MS },
    )

    expect(await page.locator('.chart canvas').count()).toBe(4)
    await page.getByText(id).click()
    await page.getByText('1 operation,').waitFor()
    await page.getByText('milk').first().waitFor()
    await page.getByText('ana').first().waitFor()
    expect(complaints).toEqual([])
  })

  test('shows hostile contents as text', async () => {
    const author = new OperationAuthor('node-<b>bold</b>', Date.now())
    const ids = HOSTILE.map((text, index) => (index < 3 ? text : recordIdOf(text)))
    const operations = HOSTILE.map((title, index) =>
      author.insert(ids[index] ?? '', { title, meta: { [title]: [title] }, userId: 'hostile' }),
    )
    await served.store.append(operations.map((operation) => requestOf(operation)))
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched

    await page.goto(`${served.url}#/records/todos?field=userId&value=hostile`)
    await page.waitForSelector('table.records tbody tr')
    const listed = (await page.locator('table.records tbody').textContent()) ?? ''
    for (const id of ids) {
      await page.evaluate(
        (hash) => {
          location.hash = hash
        },
        `#/records/todos/${encodeURIComponent(id)}`,
      )
      await page.waitForSelector('.history')
    }

    expect(await page.locator('table.records tbody tr').count()).toBe(0)
    for (const text of HOSTILE.slice(0, 7)) expect(listed).toContain(text)
    expect(listed).toContain('⟨U+202E⟩gnp.exe⟨U+0007⟩⟨U+001B⟩[2J')
    expect(await page.locator(MARKUP).count()).toBe(0)
    expect(complaints).toEqual([])
  })

  test('shows hostile names of nodes and users among the sessions as text', async () => {
    const names = [...HOSTILE.slice(0, 7), '\u202Egnp.exe'] // others are refused as names
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched
    const devices = await Promise.all(
      names.map((name) => openDevice({ url: served.host.syncUrl ?? '', token: name, nodeId: name })),
    )

    await page.goto(`${served.url}#/sessions`)
    await page.waitForFunction(
      (count) => document.querySelectorAll('tbody tr').length >= count,
      devices.length,
      { timeout: UNTIL_MS },
    )
    const listed = (await page.locator('tbody').textContent()) ?? ''
    const nodes = await page
      .locator('tbody .id')
      .evaluateAll((ids) => ids.map((id) => id.getAttribute('title')))
    await page.getByPlaceholder('User, node or address').fill(names[0] ?? '')
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1, null, {
      timeout: UNTIL_MS,
    })
    await Promise.all(devices.map((device) => device.close()))

    const shown = names.map((name) => name.replace('\u202E', '⟨U+202E⟩'))
    for (const name of shown) expect(listed).toContain(name)
    expect(nodes).toEqual(expect.arrayContaining(shown))
    expect(listed).not.toContain('\u202E')
    expect(await page.locator(MARKUP).count()).toBe(0)
    expect(complaints).toEqual([])
  })

  test('shows refused operations with their reason', async () => {
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched
    await using device = await openDevice({ url: served.host.syncUrl ?? '', token: 'ana' })
    device.insert('todos', { title: 5 })
    await device.synced()

    await page.getByRole('link', { name: 'Refusals' }).click()
    await page.getByText('todos.title must be a string').waitFor({ timeout: UNTIL_MS })
    await page.getByText('Deploy the schema of the app').waitFor()

    expect(complaints).toEqual([])
  })

  test('never shows a secret', async () => {
    const author = new OperationAuthor('node-secret', Date.now())
    const id = recordIdOf('secret')
    await served.store.append([requestOf(author.insert(id, { title: 'door', pin: 'canary-pin' }))])
    await using watched = await openDashboard(browser, served)
    const { page } = watched

    await page.goto(`${served.url}#/records/todos/${id}`)
    await page.waitForSelector('.history')

    expect(await page.content()).not.toContain('canary')
    expect(await page.locator('main').textContent()).toContain('***')
  })

  test('says what is missing or wrong', async () => {
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched
    const go = async (hash: string, text: string): Promise<void> => {
      await page.evaluate((next) => {
        location.hash = next
      }, hash)
      await page.getByText(text).first().waitFor({ timeout: UNTIL_MS })
    }

    await go('#/records/todo', 'There is no such collection')
    await go('#/records/todos/nothing', 'There is no such record')
    await go('#/records/todos?field=title&value=nobody', 'No record matches')
    await go('#/records/todos?field=done&value=perhaps', 'Type true or false.')
    await go('#/records/todos?orderBy=nowhere', 'nowhere')
    await go('#/records/todos?field=notes&value=milk', 'cannot be filtered by "notes"')
    expect(await page.locator('.filters option').allTextContents()).not.toContain('notes (no index)')
    await go('#/records/%E0%A4%A', 'There is no such collection')
    await go('#/elsewhere', 'There is no such page')
    expect(complaints).toEqual([])
  })

  test('survives a restart of the server without asking for the token again', async () => {
    await using watched = await openDashboard(browser, served)
    const { page, complaints } = watched
    const port = served.host.port ?? 0

    await served[Symbol.asyncDispose]()
    await page.getByText('The server does not answer').waitFor({ timeout: UNTIL_MS })
    served = await serve(join(directory, 'kora.db'), port)
    await page.locator('.connection.live').waitFor({ timeout: UNTIL_MS })
    await using device = await openTestDevice(served, 'ben')
    const id = device.insert('todos', { title: 'after the restart' })

    await page.getByText(id).waitFor({ timeout: UNTIL_MS })
    expect(await page.locator('#token').count()).toBe(0)
    expect(complaints).toEqual([])
  })

  test.each([
    ['light', { colorScheme: 'light', viewport: { width: 1280, height: 900 } }],
    ['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }],
    [
      'phone',
      { colorScheme: 'light', viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true },
    ],
  ] as const)('fits: %s', async (_, options) => {
    await using watched = await openDashboard(browser, served, options)
    const { page, complaints } = watched

    for (const section of [
      'overview',
      'sessions',
      'records',
      'records/todos',
      'refusals',
      'warnings',
      'servers',
    ]) {
      await page.evaluate((hash) => {
        location.hash = hash
      }, `#/${section}`)
      await page.locator('main :is(table, .empty, .tiles)').first().waitFor({ timeout: UNTIL_MS })
      const width = await page.evaluate(() => document.documentElement.scrollWidth)
      expect(width, section).toBeLessThanOrEqual(options.viewport.width) // innerWidth of a phone grows with it
    }
    const isDark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    expect(isDark === 'rgb(20, 21, 23)').toBe(options.colorScheme === 'dark')
    expect(complaints).toEqual([])
  })

  test(
    'works with ten thousand sessions and very many operations',
    async () => {
      await fill(served.store, MANY_OPERATIONS)
      await connectMany(served, MANY_SESSIONS)
      await using watched = await openDashboard(browser, served)
      const { page, complaints } = watched

      await page.goto(`${served.url}#/sessions`)
      await page.getByText('10,000 open').waitFor({ timeout: UNTIL_MS })
      expect(await page.locator('tbody tr').count()).toBe(50)
      await page.getByRole('button', { name: 'Next' }).click()
      await page.getByText('51–100 of 10,000').waitFor({ timeout: UNTIL_MS })
      await page.getByPlaceholder('User, node or address').fill('user-4321')
      await page.getByText('user-4321').first().waitFor({ timeout: UNTIL_MS })
      await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1)

      await page.goto(`${served.url}#/records`)
      await page.getByRole('link', { name: 'todos' }).click()
      await page.waitForSelector('table.records tbody tr')
      expect(await page.locator('table.records tbody tr').count()).toBe(50)
      await page.getByRole('button', { name: 'title' }).click()
      await page.getByText('"title" has no index').waitFor({ timeout: UNTIL_MS })
      await page.goto(`${served.url}#/records/todos?field=userId&value=user-7`)
      await page.getByText('todo 7', { exact: true }).waitFor({ timeout: UNTIL_MS })
      expect(complaints).toEqual([])
    },
    UNTIL_MS * sized(12, 30),
  )
})

function openTestDevice({ host }: Served, user: string): Promise<Device> {
  return openDevice({ url: host.syncUrl ?? '', token: user, schema: todoSchema })
}

async function fill(store: ServerStore, operations: number): Promise<void> {
  const author = new OperationAuthor('node-many', Date.now() - 1_000_000)
  for (let done = 0; done < operations; done += 500) {
    const batch = Array.from({ length: 500 }, (_, index) => {
      const name = `todo ${done + index}`
      return requestOf(
        author.insert(recordIdOf(name), {
          title: name,
          userId: `user-${(done + index) % (operations / OPERATIONS_PER_USER)}`,
        }),
      )
    })
    await store.append(batch)
  }
}

/** Sessions as an application attaches them: everything of a client but its socket. */
async function connectMany({ host, store }: Served, count: number): Promise<void> {
  const { hub } = host.service
  await hub.feed.refill()
  const lastDeliverySequence = await store.getMaxDeliverySequence()
  for (let index = 0; index < count; index++) {
    const transport = new MemoryTransport()
    hub.connect(transport)
    transport.receive({
      type: 'handshake',
      messageId: 'h',
      nodeId: recordIdOf(`node ${index}`),
      schemaVersion: 1,
      versionVector: {},
      authToken: `user-${index}`,
      lastDeliverySequence,
    })
    if (index % 200 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}
