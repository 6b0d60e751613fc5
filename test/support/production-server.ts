import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '../../src/core/logger.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import {
  createProductionServer,
  type ProductionServer,
  type ProductionServerConfig,
} from '../../src/http/production-server.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../src/store/store.ts'

/** Orders of a shop, with a field of each kind that the data plane treats in its own way. */
export const orderSchema = defineSchema({
  version: 1,
  collections: {
    orders: {
      fields: {
        title: t.string(),
        status: t.enum(['open', 'paid', 'shipped']).default('open'),
        amount: t.number().optional(),
        notes: t.richtext().optional(),
        pin: t.secret().optional(),
        createdAt: t.timestamp().auto(),
      },
    },
  },
})

export interface TestServer extends AsyncDisposable, ProductionServer {
  readonly url: string
  readonly syncUrl: string
  readonly store: ServerStore
  /** A folder of its own, which goes away with it. */
  readonly directory: string
}

export interface TestServerOptions extends Partial<ProductionServerConfig> {
  readonly schema?: SchemaDefinition
  /** Prepares the folder before the server starts. */
  readonly prepare?: (directory: string) => void
}

/** A production server on a free port of loopback, on SQLite, with a front end in `<directory>/dist`. */
export async function startProductionServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { schema = orderSchema, prepare, ...config } = options
  const directory = mkdtempSync(join(tmpdir(), 'kora-http-'))
  prepare?.(directory)
  const store =
    config.store ?? createSqliteServerStore({ filename: join(directory, 'kora.db'), durability: 'normal' })
  await store.setSchema(schema)
  const server = createProductionServer({
    port: 0,
    host: '127.0.0.1',
    staticDir: join(directory, 'dist'),
    ...config,
    store,
    syncOptions: { logger: silentLogger, ...config.syncOptions },
  })
  const url = await server.start()
  return {
    ...server,
    url,
    syncUrl: `${url.replace(/^http/, 'ws')}${config.syncPath ?? '/kora-sync'}`,
    store,
    directory,
    async [Symbol.asyncDispose]() {
      await server.stop()
      await store.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
