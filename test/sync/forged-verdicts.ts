import type { Operation } from '../../src/core/operation.ts'
import { createView, type View } from '../../src/core/view.ts'
import { WriteAccess } from '../../src/core/write-access.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import type { AppendRequest, DeliveryQuery, ServerWrite } from '../../src/store/store.ts'
import { ApplicationAccess, ClientAccess, OperatorAccess } from '../../src/sync/authorization.ts'
import { DataPlane } from '../../src/sync/data-plane.ts'
import type { SyncHubContext } from '../../src/sync/hub/hub-context.ts'

/*
 * Each line below an expected error is a way around authorization. The type check fails as soon as
 * one of them compiles; nothing here is run.
 */
export function forgeries(operation: Operation, context: SyncHubContext): unknown[] {
  const wireJson = ''
  const everything = { key: '', scope: null, subsets: [], isSelective: false }
  // @ts-expect-error an object in the shape of a view is none
  const view: View = everything
  // @ts-expect-error nor is the copy of a view that shows more than the view
  const widened: View = { ...createView({}), scope: null }
  // @ts-expect-error nor is it what the store reads by
  const query: DeliveryQuery = { after: 0, view: everything, limit: 1, maxBytes: 1 }
  // @ts-expect-error an operation without the access of its author is not stored
  const bare: AppendRequest = { operation, wireJson }
  const literal = { scope: null, advancesVector: true, allows: () => true }
  // @ts-expect-error and an object in its shape is none
  const request: AppendRequest = { operation, wireJson, access: literal }
  const change = { type: 'insert', collection: 'todos', recordId: 'r', data: {}, schemaVersion: 1 } as const
  // @ts-expect-error nobody writes as the server without the application's access
  const write: ServerWrite = { author: 'server', ...change }
  return [
    view,
    widened,
    query,
    bare,
    request,
    write,
    // @ts-expect-error verdicts have no constructor that others may call
    new WriteAccess(null, true),
    // @ts-expect-error
    new ClientAccess({}, context),
    // @ts-expect-error
    new OperatorAccess('admin', new MemoryServerStore()),
    // @ts-expect-error
    new ApplicationAccess(new MemoryServerStore()),
    // @ts-expect-error a session has no way to the records
    context.store.queryCollection('todos'),
    // @ts-expect-error nor to the whole log
    context.store.readLog(0, 1, 1),
    // @ts-expect-error nor past the queue that asks for the access of each operation
    context.store.append([]),
    // @ts-expect-error what the application writes through is made of its access, not of a store
    new DataPlane({ store: new MemoryServerStore() }),
  ]
}
