import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'

test.each([['my-node'], [{ nodeId: 'my-node' }]])('of %o the node id is my-node', (options) => {
  expect(new MemoryServerStore(options).getNodeId()).toBe('my-node')
})
