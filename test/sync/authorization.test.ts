import { expect, test } from 'vitest'
import { guestEntry } from '../../src/core/version-vector.ts'
import { createView } from '../../src/core/view.ts'
import type { NodeRegistration } from '../../src/store/store.ts'
import { authorizeClient, authorizePeer, type ClientAccess } from '../../src/sync/authorization.ts'

function clientOf(options: {
  auth?: object
  node?: Partial<NodeRegistration>
  isOpen?: boolean
}): ClientAccess {
  const { auth, node, isOpen = false } = options
  return authorizeClient(
    {
      auth: { userId: 'u1', ...auth },
      view: createView({ todos: { userId: 'u1' } }),
      node: { nodeId: 'phone', userId: null, scopeEra: null, legacyPosition: 0, ...node },
    },
    { isOpen, store: { getNodeId: () => 'server' } },
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

test('moves the entry of its own node as owner or as guest, and that of another never', () => {
  const moved = (access: ClientAccess, nodeId = 'phone') => access.writesAs(nodeId).vectorEntryOf(nodeId)

  expect(moved(clientOf({ node: { userId: 'u1' } }))).toBe('phone')
  expect(moved(clientOf({ node: { userId: 'u2' } }))).toBe(guestEntry('phone', 'u1'))
  expect(moved(clientOf({ auth: { isAnonymous: true } }))).toBe(guestEntry('phone', ''))
  expect(moved(clientOf({ auth: { deviceId: 'phone' }, node: { userId: 'u2' } }))).toBe('phone')
  expect(moved(clientOf({ auth: { deviceId: 'laptop' }, node: { userId: 'u1' } }))).toBe(null)
  expect(moved(clientOf({ node: { userId: 'u1' } }), 'tablet')).toBe(null)
  expect(moved(clientOf({ isOpen: true }))).toBe('phone')
  expect(moved(clientOf({ isOpen: true }), 'tablet')).toBe(null)
  expect(moved(clientOf({ isOpen: true, node: { nodeId: 'server' } }), 'server')).toBe(null)
})

test('is told of its own node what it has sent itself, and without an identity nothing', () => {
  expect(clientOf({ node: { userId: 'u1' } }).ownEntry).toBe('phone')
  expect(clientOf({ node: { userId: 'u2' } }).ownEntry).toBe(guestEntry('phone', 'u1'))
  expect(clientOf({ auth: { isAnonymous: true } }).ownEntry).toBe(null)
  expect(clientOf({ auth: { deviceId: 'laptop' }, node: { userId: 'u1' } }).ownEntry).toBe(null)
  expect(clientOf({ isOpen: true, auth: { isAnonymous: true } }).ownEntry).toBe('phone')
})

test('a client of another server moves no entry here', () => {
  const access = authorizePeer({ nodeId: 'phone', auth: { userId: 'u1' } })

  expect(access.writesAs('phone').vectorEntryOf('phone')).toBe(null)
})
