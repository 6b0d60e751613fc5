import assert from 'node:assert/strict'
// The examples of the library's reference from here on, with other imports and otherwise as they are.
import {
  AwarenessRelay,
  createKoraServer,
  KoraAuthProvider,
  KoraSyncServer,
  MemoryServerStore,
  MixedAuthProvider,
  TokenAuthProvider,
} from 'kora-server'

const store = new MemoryServerStore()

const tokenAuth = new TokenAuthProvider({
  validate: async (token) => {
    const user = await verifyToken(token)
    return user ? { userId: user.id } : null
  },
})

const scopedAuth = new TokenAuthProvider({
  validate: async (token) => {
    const payload = await verifyJWT(token)
    if (!payload) return null
    return {
      userId: payload.sub,
      scopes: {
        todos: { userId: payload.sub },
      },
    }
  },
})

const mixedAuth = new MixedAuthProvider({
  // Primary auth validates tokens for authenticated users
  primary: tokenAuth,

  // Anonymous users can only sync the 'responses' collection
  anonymousScopes: {
    responses: {},
  },
})

const server = new KoraSyncServer({ store, auth: mixedAuth })

// NoAuthProvider is the default when no auth is specified
const openServer = createKoraServer({ store })

const koraAuth = new KoraAuthProvider({
  tokenValidator: tokenManager(),
  userLookup: userStore(),
  deviceTracker: userStore(), // optional
  resolveScopes: async (userId) => ({
    todos: { userId },
  }),
})

const relay = new AwarenessRelay()

assert.deepEqual(await tokenAuth.authenticate('token of user-1'), { userId: 'user-1' })
assert.equal(await tokenAuth.authenticate('wrong'), null)
assert.deepEqual(await scopedAuth.authenticate('token of user-1'), {
  userId: 'user-1',
  scopes: { todos: { userId: 'user-1' } },
})
assert.equal((await mixedAuth.authenticate('token of user-1'))?.userId, 'user-1')
const anonymous = await mixedAuth.authenticate('')
assert.match(anonymous?.userId ?? '', /^anon/)
assert.deepEqual(anonymous?.scopes, { responses: {} })
const known = await koraAuth.authenticate('token of user-1')
assert.equal(known?.userId, 'user-1')
assert.deepEqual(known?.scopes, { todos: { userId: 'user-1' } })
assert.equal(server.getConnectionCount(), 0)
assert.equal((await openServer.getStatus()).running, false)
const heard: unknown[] = []
relay.addClient('alice', () => {})
relay.addClient('bob', (message) => heard.push(message))
relay.handleUpdate('alice', { user: { name: 'Alice', color: '#e11d48' } })
assert.equal(heard.length > 0, true)
relay.removeClient('alice')
await store.close()

async function verifyToken(token: string): Promise<{ id: string } | null> {
  return token === 'token of user-1' ? { id: 'user-1' } : null
}

async function verifyJWT(token: string): Promise<{ sub: string } | null> {
  return token === 'token of user-1' ? { sub: 'user-1' } : null
}

function tokenManager() {
  return {
    validateToken: (token: string) =>
      token === 'token of user-1' ? { sub: 'user-1', dev: 'device-1', type: 'access' } : null,
  }
}

function userStore() {
  return {
    findById: async (id: string) => ({ id, email: 'user@example.com', name: 'User' }),
    touchDevice: async (_deviceId: string) => {},
  }
}
