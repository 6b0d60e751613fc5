import { pino } from 'pino'
import { boundHeapGrowth } from '../../src/cli/heap-growth.ts'
import { createKoraServer } from '../../src/http/kora-sync-server.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { type PostgresServerOptions, type RunningServer, serveServer } from '../harness/server-process.ts'
import { benchSchema } from '../workload/schema.ts'

/** The server as an operator runs it, without a limit on the rate of one client. */
async function start({ connectionString }: PostgresServerOptions): Promise<RunningServer> {
  const store = await createPostgresServerStore({ connectionString })
  await store.setSchema(benchSchema)
  const server = createKoraServer({
    store,
    host: '127.0.0.1',
    port: 0,
    maxOpsPerMinute: 0,
    logger: pino({ level: 'info' }, { write() {} }),
  })
  await server.start()
  return { port: Number(new URL(server.url ?? '').port) }
}

boundHeapGrowth()
serveServer(start)
