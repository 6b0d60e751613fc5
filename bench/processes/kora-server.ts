import { pino } from 'pino'
import { TokenAuthProvider } from '../../src/auth/token-auth-provider.ts'
import { boundHeapGrowth } from '../../src/cli/heap-growth.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { createKoraServer } from '../../src/http/kora-sync-server.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { type RunningServer, type ServerOptions, serveServer } from '../harness/server-process.ts'
import { benchSchema } from '../workload/schema.ts'

/** The server as an operator runs it, without a limit on the rate of one client. */
async function start({ filename, access, durability }: ServerOptions): Promise<RunningServer> {
  const store = createSqliteServerStore({ filename, durability })
  await store.setSchema(benchSchema)
  const server = createKoraServer({
    store,
    host: '127.0.0.1',
    port: 0,
    maxOpsPerMinute: 0,
    logger: pino({ level: 'info' }, { write() {} }),
    ...(access === 'scoped' && { auth: scopedAuth() }),
  })
  await server.start()
  return { port: Number(new URL(server.url ?? '').port) }
}

function scopedAuth(): TokenAuthProvider {
  return new TokenAuthProvider({
    validate: (token) => ({ userId: token, scopes: { todos: { userId: token } } }),
    logger: silentLogger,
  })
}

boundHeapGrowth()
serveServer(start)
