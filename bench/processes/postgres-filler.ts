import { TRUSTED_SOURCE } from '../../src/core/write-access.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { serve } from '../harness/child.ts'
import { OperationSource } from '../workload/operations.ts'
import { benchSchema } from '../workload/schema.ts'

export interface FillPostgresOptions {
  readonly connectionString: string
  readonly operations: number
}

const BATCH = 1000

/** Makes a database that a server has filled before. */
async function fill({ connectionString, operations }: FillPostgresOptions): Promise<void> {
  const store = await createPostgresServerStore({ connectionString })
  await store.setSchema(benchSchema)
  const source = new OperationSource()
  for (let done = 0; done < operations; done += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, operations - done) }, () => source.insert())
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

serve({ fill })
