import { createHash } from 'node:crypto'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { checkOperationId, computeOperationId } from '../../src/core/operation-id.ts'
import type { ScopeMap } from '../../src/core/scope.ts'
import { createWriteAccess, type Speaker } from '../../src/core/write-access.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import type { AppendRequest, ServerStore } from '../../src/store/store.ts'

type Parts = Partial<Omit<Operation, 'id' | 'type' | 'data'>>

/** A node that writes operations of `todos` by its own clock, which ticks once per operation. */
export class OperationAuthor {
  readonly nodeId: string
  #wallTime: number
  #sequenceNumber = 0

  constructor(nodeId: string, startAt = 1_750_000_000_000) {
    this.nodeId = nodeId
    this.#wallTime = startAt
  }

  insert(recordId: string, data: FieldValues, parts: Parts = {}): Operation {
    return this.#write('insert', recordId, { data, ...parts })
  }

  update(recordId: string, data: FieldValues, parts: Parts = {}): Operation {
    return this.#write('update', recordId, { data, previousData: {}, ...parts })
  }

  delete(recordId: string, parts: Parts = {}): Operation {
    return this.#write('delete', recordId, { data: null, ...parts })
  }

  #write(type: Operation['type'], recordId: string, parts: Partial<Operation>): Operation {
    this.#sequenceNumber++
    this.#wallTime++
    return withId({
      id: '',
      nodeId: this.nodeId,
      type,
      collection: 'todos',
      recordId,
      data: null,
      previousData: null,
      timestamp: { wallTime: this.#wallTime, logical: 0, nodeId: this.nodeId },
      sequenceNumber: this.#sequenceNumber,
      causalDeps: [],
      schemaVersion: 1,
      ...parts,
    })
  }
}

/** The operation with the id that its content has. */
export function withId(operation: Operation): Operation {
  return { ...operation, id: computeOperationId(operation) }
}

/** A UUID that is the same for the same name. */
export function recordIdOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

export function requestOf(
  operation: Operation,
  {
    writeScope = null,
    speaker = 'owner',
    applicationVerdict,
  }: { writeScope?: ScopeMap | null; speaker?: Speaker } & Pick<AppendRequest, 'applicationVerdict'> = {},
): AppendRequest {
  return {
    operation,
    wireJson: operationToWireJson(operation),
    access: createWriteAccess(writeScope, speaker),
    isIdVerified: checkOperationId(operation) === 'verified',
    ...(applicationVerdict && { applicationVerdict }),
  }
}

/** Appends the operations in one batch and returns the outcome of each: the status or the refusal's code. */
export async function appendAll(
  store: ServerStore,
  operations: readonly Operation[],
  options: Parameters<typeof requestOf>[1] = {},
): Promise<string[]> {
  const results = await store.append(operations.map((operation) => requestOf(operation, options)))
  return results.map((result) => (result.status === 'refused' ? result.refusal.code : result.status))
}
