import type { Operation } from '../../src/core/operation.ts'
import { TRUSTED_SOURCE } from '../../src/core/write-access.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { serve } from '../harness/child.ts'
import { OperationSource } from '../workload/operations.ts'
import { benchSchema } from '../workload/schema.ts'
import { BareStore } from './bare-store.ts'

export interface FillOptions {
  /** Whose database: ours, the bare server's, or that of the bare server which keeps our promises. */
  readonly variant: 'kora' | 'bare' | 'promises'
  readonly filename: string
  readonly operations: number
  /** These operations are spread evenly over the log, and belong to `user-rare`. */
  readonly rare: number
  /** The others belong to so many users, in turns. */
  readonly users: number
}

const BATCH = 1000

/** Makes a database that a server has filled before. */
async function fill(options: FillOptions): Promise<void> {
  if (options.variant === 'kora') await fillKora(options)
  else fillBare(options)
}

/** One at a time: a million operations do not fit into memory. */
function* batchesOf({ operations, rare, users }: FillOptions): Generator<Operation[]> {
  const every = rare === 0 ? Number.POSITIVE_INFINITY : Math.floor(operations / rare)
  const source = new OperationSource()
  for (let done = 0; done < operations; done += BATCH) {
    yield Array.from({ length: Math.min(BATCH, operations - done) }, (_, index) => {
      const at = done + index + 1
      return source.insert(at % every === 0 && at / every <= rare ? 'user-rare' : `user-${at % users}`)
    })
  }
}

async function fillKora(options: FillOptions): Promise<void> {
  const store = createSqliteServerStore({ filename: options.filename, durability: 'normal' })
  await store.setSchema(benchSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  for (const batch of batchesOf(options)) {
    await store.append(
      batch.map((operation) => ({
        operation,
        wireJson: operationToWireJson(operation),
        access: TRUSTED_SOURCE,
      })),
    )
  }
  await store.close()
}

function fillBare(options: FillOptions): void {
  const { filename, variant } = options
  const store = new BareStore({ filename, durability: 'normal', keepsPromises: variant === 'promises' })
  for (const batch of batchesOf(options)) {
    store.write(
      batch.map((operation) => ({ sequence: 0, operation, wireJson: operationToWireJson(operation) })),
    )
  }
  store.close()
}

serve({ fill })
