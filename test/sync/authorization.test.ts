import { expect, test } from 'vitest'
import { createView } from '../../src/core/view.ts'
import type { NodeRegistration } from '../../src/store/store.ts'
import { authorizeClient, authorizePeer, type ClientAccess } from '../../src/sync/authorization.ts'

function clientOf(options: {
  auth?: object
  node?: Partial<NodeRegistration>
  isOpen?: boolean
  registered?: Map<string, NodeRegistration>
}): ClientAccess {
  const { auth, node, isOpen = false, registered = new Map() } = options
  return authorizeClient(
    {
      auth: { userId: 'u1', ...auth },
      view: createView({ todos: { userId: 'u1' } }),
      node: { nodeId: 'phone', userId: null, viewKey: null, legacyPosition: 0, ...node },
    },
    { isOpen, store: { getNodeId: () => 'server', readNodes: async () => registered } },
  )
}

test('a client sees by its view and writes by its token, whatever it wishes to see', () => {
  const access = clientOf({ auth: { scopes: { todos: { team: 'a' } } } })

  expect(access.sees('todos', { userId: 'u1' })).toBe(true)
  expect(access.sees('todos', { userId: 'u2' })).toBe(false)
  expect(access.mayWrite('todos', { team: 'a', userId: 'u2' })).toBe(true)
  expect(access.mayWrite('todos', { team: 'b', userId: 'u1' })).toBe(false)
  expect(access.mayWrite('notes', { team: 'a' })).toBe(false)
})

test('its own node is moved by who speaks for it, that of the server by nobody', async () => {
  const other = { nodeId: 'tablet', userId: 'u1', viewKey: null, legacyPosition: 0 }
  const registered = new Map([['tablet', other]])
  const moves = async (access: ClientAccess, nodeId: string) => (await access.writesAs(nodeId)).advancesVector

  expect(await moves(clientOf({ node: { userId: 'u1' } }), 'phone')).toBe(true)
  expect(await moves(clientOf({ node: { userId: 'u2' } }), 'phone')).toBe(false)
  expect(await moves(clientOf({ auth: { deviceId: 'phone' }, node: { userId: 'u2' } }), 'phone')).toBe(true)
  expect(await moves(clientOf({ auth: { deviceId: 'laptop' }, node: { userId: 'u1' } }), 'phone')).toBe(false)
  expect(await moves(clientOf({ registered }), 'tablet')).toBe(true)
  expect(await moves(clientOf({ registered, auth: { userId: 'u2' } }), 'tablet')).toBe(false)
  expect(await moves(clientOf({ registered, auth: { isAnonymous: true } }), 'tablet')).toBe(false)
  expect(await moves(clientOf({ isOpen: true }), 'anybody')).toBe(true)
  expect(await moves(clientOf({ isOpen: true }), 'server')).toBe(false)
})

test('a client of another server moves no vector here', async () => {
  const access = authorizePeer({ nodeId: 'phone', auth: { userId: 'u1' }, scope: null, subsets: [] })

  expect((await access.writesAs('phone')).advancesVector).toBe(false)
})
