import type { Browser, Page } from 'playwright-core'
import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { ServerHost } from '../../src/http/server-host.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { openPage } from './chromium.ts'

export const ADMIN_TOKEN = 'canary-admin-token'
export const UNTIL_MS = 20_000

export const todoSchema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        meta: t.json().optional(),
        notes: t.richtext().optional(),
        pin: t.secret().optional(),
        userId: t.string().optional(),
        a_name_of_a_field_that_is_longer_than_a_phone_is_wide_by_far: t.string().optional(),
      },
      indexes: ['userId'],
    },
  },
})

/** A server with a dashboard. */
export interface Served extends AsyncDisposable {
  readonly host: ServerHost
  readonly store: ServerStore
  readonly url: string
}

/** Serves the todos of this file. @param port 0: any that is free */
export async function serve(filename: string, port = 0): Promise<Served> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  await store.setSchema(todoSchema)
  const host = new ServerHost({
    sync: { store, auth: new TokenAuthProvider({ validate: async (token) => ({ userId: token }) }) },
    host: '127.0.0.1',
    port,
    logger: silentLogger,
    runtime: systemRuntime(),
    operations: { auth: { adminToken: ADMIN_TOKEN } },
  })
  await host.start()
  return {
    host,
    store,
    url: host.dashboardUrl ?? '',
    async [Symbol.asyncDispose]() {
      await host.stop()
      await store.close()
    },
  }
}

/** A page that has been let in, and shows what happens. */
export async function openDashboard(
  browser: Browser,
  { url }: Served,
  options?: Parameters<typeof openPage>[1],
): ReturnType<typeof openPage> {
  const watched = await openPage(browser, options)
  await watched.page.goto(url)
  await enterToken(watched.page, ADMIN_TOKEN)
  await waitUntilLive(watched.page)
  return watched
}

export async function enterToken(page: Page, token: string): Promise<void> {
  await page.fill('#token', token)
  await page.click('button[type=submit]')
}

export async function waitUntilLive(page: Page): Promise<void> {
  await page.locator('.connection.live').waitFor({ timeout: UNTIL_MS })
}
