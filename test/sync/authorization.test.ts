import { expect, test } from 'vitest'
import { guestEntry } from '../../src/core/version-vector.ts'
import { createView } from '../../src/core/view.ts'
import type { NodeRegistration } from '../../src/store/node-index.ts'
import { authorizeClient, authorizePeer, type ClientAccess } from '../../src/sync/authorization.ts'

function clientOf(options: {
  auth?: object
  node?: Partial<NodeRegistration>
  isOpen?: boolean
  /** Node → its user, as the store has it. */
  owners?: Record<string, string | null>
  onAsked?: (nodeIds: readonly string[]) => void
}): ClientAccess {
  const { auth, node, isOpen = false, owners = {}, onAsked = () => {} } = options
  const registered = Object.entries(owners).map(
    ([nodeId, userId]) => [nodeId, { nodeId, userId, scopeEra: null, legacyPosition: 0 }] as const,
  )
  const store = {
    getNodeId: () => 'server',
    getFormerNodeIds: () => new Set(['former']),
    readNodes: async (nodeIds: readonly string[]) => {
      onAsked(nodeIds)
      return new Map(registered)
    },
  }
  return authorizeClient(
    {
      auth: { userId: 'u1', ...auth },
      view: createView({ todos: { userId: 'u1' } }),
      node: { nodeId: 'phone', userId: null, scopeEra: null, legacyPosition: 0, ...node },
    },
    { isOpen, store },
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

test('moves the entry of its own node as owner or as guest, and that of the server never', async () => {
  const moved = async (access: ClientAccess, nodeId = 'phone') => {
    const written = await access.writesAs(nodeId)
    expect(written.movesInTurn).toBe(false)
    return written.vectorEntryOf(nodeId)
  }

  expect(await moved(clientOf({ node: { userId: 'u1' } }))).toBe('phone')
  expect(await moved(clientOf({ node: { userId: 'u2' } }))).toBe(guestEntry('phone', 'u1'))
  expect(await moved(clientOf({ auth: { isAnonymous: true } }))).toBe(guestEntry('phone', ''))
  expect(await moved(clientOf({ auth: { deviceId: 'phone' }, node: { userId: 'u2' } }))).toBe('phone')
  expect(await moved(clientOf({ auth: { deviceId: 'laptop' }, node: { userId: 'u1' } }))).toBe(null)
  expect(await moved(clientOf({ isOpen: true }))).toBe('phone')
  expect(await moved(clientOf({ isOpen: true }), 'server')).toBe(null)
  expect(await moved(clientOf({ isOpen: true, node: { nodeId: 'server' } }), 'server')).toBe(null)
})

test('moves the entry of another node of its user, in turn, and that of a stranger never', async () => {
  const moved = async (access: ClientAccess) => {
    const written = await access.writesAs('tablet')
    return [written.vectorEntryOf('tablet'), written.movesInTurn]
  }
  const owners = { tablet: 'u1' }

  expect(await moved(clientOf({ owners }))).toEqual(['tablet', true])
  expect(await moved(clientOf({ isOpen: true }))).toEqual(['tablet', true])
  for (const stranger of [
    { owners, auth: { userId: 'u2' } },
    { owners, auth: { isAnonymous: true } },
    { owners: { tablet: null } },
    {},
  ]) {
    expect(await moved(clientOf(stranger))).toEqual([null, false])
  }
})

test('moves the entry of a former node of the server in turn, if it is somebody', async () => {
  const moved = async (client: Parameters<typeof clientOf>[0]) => {
    const written = await clientOf(client).writesAs('former')
    return [written.vectorEntryOf('former'), written.movesInTurn]
  }

  expect(await moved({})).toEqual(['former', true])
  expect(await moved({ auth: { deviceId: 'phone' } })).toEqual(['former', true])
  expect(await moved({ owners: { former: 'u2' } })).toEqual(['former', true])
  expect(await moved({ isOpen: true })).toEqual(['former', true])
  expect(await moved({ auth: { isAnonymous: true } })).toEqual([null, false])
})

test.each(['server', 'former'])('speaks for no node of the server: %s', async (nodeId) => {
  for (const client of [
    {},
    { isOpen: true },
    { node: { userId: 'u1' } },
    { auth: { deviceId: nodeId } },
    { auth: { isAnonymous: true } },
  ]) {
    const access = clientOf({ ...client, node: { ...client.node, nodeId } })
    expect(access.speaksForNode).toBe(false)
    expect(access.ownEntry).toBe(null)
    expect((await access.writesAs(nodeId)).vectorEntryOf(nodeId)).toBe(null)
  }
})

test('the store is asked once whose another node is, and not at all of those that are known otherwise', async () => {
  const asked: string[] = []
  const onAsked = (nodeIds: readonly string[]) => asked.push(...nodeIds)
  const owners = { tablet: 'u1', stranger: 'u2' }
  const access = clientOf({ owners, onAsked })
  const open = clientOf({ isOpen: true, onAsked })

  for (const nodeId of ['phone', 'server', 'former', 'tablet', 'tablet', 'stranger', 'stranger']) {
    await access.writesAs(nodeId)
    await open.writesAs(nodeId)
  }

  expect(asked).toEqual(['tablet', 'stranger'])
})

test('is told of its own node what it has sent itself, and without an identity nothing', () => {
  expect(clientOf({ node: { userId: 'u1' } }).ownEntry).toBe('phone')
  expect(clientOf({ node: { userId: 'u2' } }).ownEntry).toBe(guestEntry('phone', 'u1'))
  expect(clientOf({ auth: { isAnonymous: true } }).ownEntry).toBe(null)
  expect(clientOf({ auth: { deviceId: 'laptop' }, node: { userId: 'u1' } }).ownEntry).toBe(null)
  expect(clientOf({ isOpen: true, auth: { isAnonymous: true } }).ownEntry).toBe('phone')
})

test('a client of another server moves no entry here', async () => {
  const access = authorizePeer({ nodeId: 'phone', auth: { userId: 'u1' } })

  expect((await access.writesAs('phone')).vectorEntryOf('phone')).toBe(null)
})
