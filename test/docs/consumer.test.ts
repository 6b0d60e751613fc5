import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

const PROGRAM = `
import {
  type AuthContext,
  AwarenessRelay,
  type CollectionQueryOptions,
  createBackup,
  createKoraServer,
  createPostgresServerStore,
  createProductionServer,
  createSqliteServerStore,
  defineSchema,
  type HttpSyncRequest,
  KoraAuthProvider,
  type KoraSyncServerConfig,
  MixedAuthProvider,
  type Mutation,
  restoreBackup,
  type ServerTransport,
  t,
  TokenAuthProvider,
  type ValidateOperation,
  verifyBackup,
} from 'kora-server'

const connectionString = 'postgres://localhost/app'
const stores = [createSqliteServerStore({ filename: './app.db' }), await createPostgresServerStore({ connectionString })]
export const servers = stores.map((store) => createKoraServer({ store }))

// A schema with the types that @korajs/core gives it, and one that is written by hand.
type Kind = 'string' | 'number' | 'boolean' | 'enum' | 'object'
interface CoreField {
  kind: Kind
  required: boolean
  defaultValue: unknown
  auto: boolean
  enumValues: readonly string[] | null
  itemKind: Kind | null
  mergeStrategy?: 'lww' | 'counter' | null
  nestedFields?: Record<string, CoreField> | null
}
type CoreResolve = (local: unknown, remote: unknown, base: unknown) => unknown
interface CoreCollection {
  fields: Record<string, CoreField>
  indexes: string[]
  constraints: { type: 'unique' | 'capacity'; fields: string[]; where?: Record<string, unknown>; onConflict: 'custom'; resolve?: CoreResolve }[]
  resolvers: Record<string, CoreResolve>
  scope: string[]
  stateMachine?: { field: string; transitions: Record<string, string[]>; onInvalidTransition: 'reject' } | undefined
}
interface CoreSchema {
  version: number
  collections: Record<string, CoreCollection>
  relations: Record<string, { from: string; to: string; type: 'one-to-one'; field: string; onDelete: 'cascade' }>
  migrations: Record<number, { steps: { type: 'addIndex'; collection: string; field: string }[]; safelyReversible: boolean }>
  sync?: Record<string, { where: Record<string, string> }>
}
declare const core: CoreSchema
for (const store of stores) {
  await store.setSchema(core)
  await store.planSchema(core)
  await store.setSchema({ version: 1, collections: { todos: { fields: { title: { kind: 'string' } } } } })
  await store.setSchema(defineSchema({ version: 1, collections: { todos: { fields: { title: t.string() } } } }))
  // @ts-expect-error no schema
  await store.setSchema({ version: 1 })
}

// What is not given may be undefined, and what may be asynchronous need not be.
const [store] = stores
declare const users: Map<string, { email: string }>
const config: KoraSyncServerConfig = {
  store: store!,
  port: undefined,
  logger: undefined,
  limits: { idleTimeoutMs: undefined },
  auth: new KoraAuthProvider({
    tokenValidator: { validateToken: () => null },
    userLookup: { findById: async (id) => users.get(id) },
  }),
  persistBlobChunk(hash, bytes) { void hash; void bytes.byteLength },
  resolveBlobChunk: () => new Uint8Array(),
}
createProductionServer({ store: store!, port: undefined, staticDir: undefined, syncOptions: { maxConnections: undefined } })
const request: HttpSyncRequest = { clientId: 'c', method: 'POST', body: undefined, contentType: undefined, ifNoneMatch: undefined }
await createKoraServer(config).handleHttpRequest(request)
const auth: AuthContext = { userId: 'u', scopes: undefined, metadata: undefined, expiresAt: undefined, issuedAt: undefined, deviceId: undefined, isAnonymous: undefined }
new MixedAuthProvider({ primary: config.auth!, anonymousScopes: undefined, anonymousPrefix: undefined, invalidToken: undefined, logger: undefined, runtime: undefined })
new KoraAuthProvider({
  tokenValidator: { validateToken: () => null },
  userLookup: { findById: () => null },
  deviceTracker: undefined,
  resolveScopes: undefined,
  logger: undefined,
  runtime: undefined,
})
new TokenAuthProvider({ validate: () => auth, logger: undefined })
export const validateOperation: ValidateOperation = () => ({ action: 'reject', code: 'C', message: 'm', retriable: undefined })
createProductionServer({ store: store!, operationalAuth: { adminToken: process.env.A, metricsToken: process.env.B, backupToken: process.env.C } })
const mutation: Mutation = { collection: 'todos', type: 'insert', id: undefined, data: undefined, idempotencyKey: undefined }
const paged: CollectionQueryOptions = { where: undefined, orderBy: undefined, orderDirection: undefined, limit: undefined, offset: undefined, after: undefined, includeDeleted: undefined }
await store!.queryCollection('todos', paged)
await store!.setSchema(core, { onProgress: undefined })
const backup = createBackup(store!, { createdAtMs: undefined, onProgress: undefined })
await verifyBackup([new Uint8Array()])
await restoreBackup(store!, backup, 'merge', { verified: undefined, onProgress: undefined })
export const transportOf = (socket: { remoteAddress: string | undefined; send(text: string): void }): ServerTransport => ({
  send: (message) => socket.send(JSON.stringify(message)),
  onMessage() {}, onClose() {}, onError() {}, isConnected: () => true, close() {},
  remoteAddress: socket.remoteAddress,
})

// What a module exports has types that can be named.
export { mutation }
export const limits: KoraSyncServerConfig['limits'] = { maxConnections: 1 }
export const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        state: t.enum(['open', 'done']).default('open'),
        pin: t.secret().hashed(),
        tags: t.array(t.string()).optional(),
        place: t.object({ x: t.number(), y: t.number().optional() }),
        more: t.json(),
        file: t.blob(),
        notes: t.richtext(),
        at: t.timestamp().auto(),
      },
    },
  },
})
export const fields = { title: t.string(), kind: t.enum(['a']), place: t.object({ x: t.number() }), file: t.blob(), more: t.json(), pin: t.secret().hashed() }
export const plan = await store!.planSchema(core)
export const log = await store!.getOperationsAfterDelivery(0)
export const verdict = await new TokenAuthProvider({ validate: () => null }).explain('token')
export const relayed = new AwarenessRelay().getStates()
export const presenceIds = new Map<Parameters<AwarenessRelay['removeClient']>[0], string>()
const nodeIds: string[] = (await createKoraServer(config).getStatus()).connectedNodeIds
export { nodeIds }
`

/** An installed package beside a program: with what it depends on at run time, and no tool of its own. */
function installInto(directory: string): void {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const name of [...Object.keys(dependencies), '@types/node']) {
    const path = join(directory, 'node_modules', name)
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules', name), path)
  }
  const own = join(directory, 'node_modules/kora-server') // copied: what is linked sees the packages beside its original
  cpSync(join(ROOT, 'package.json'), join(own, 'package.json'))
  cpSync(join(ROOT, 'dist'), join(own, 'dist'), { recursive: true })
}

test('a strict program that checks the types of its libraries compiles', { timeout: 150_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'kora-consumer-'))
  try {
    installInto(directory)
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(directory, 'app.ts'), PROGRAM)
    const options = {
      target: 'ES2023',
      lib: ['ES2023'],
      module: 'NodeNext',
      types: ['node'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      declaration: true,
      outDir: join(directory, 'built'),
    }
    writeFileSync(
      join(directory, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, include: ['app.ts'] }),
    )

    const { stdout, status } = spawnSync(process.execPath, [TSC, '-p', directory], { encoding: 'utf8' })

    expect(stdout).toBe('')
    expect(status).toBe(0)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
