import type { Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'

const runtime = systemRuntime()
const PADDING = 'with a text as long as people write, so that it is of the usual size'

/** One device's operations: inserts with the ids, clocks and dependencies that a real client gives them. */
export class OperationSource {
  readonly nodeId: string
  readonly #userId: string
  readonly #startedAt = Date.now()
  #sequenceNumber = 0
  #lastId: string | null = null

  constructor(nodeId: string = runtime.uuid(), userId = 'user-1') {
    this.nodeId = nodeId
    this.#userId = userId
  }

  insert(userId: string = this.#userId): Operation {
    return this.#author('insert', runtime.uuid(), {
      title: `Todo ${this.#sequenceNumber} ${PADDING}`,
      completed: this.#sequenceNumber % 3 === 0,
      userId,
      position: this.#sequenceNumber / 7,
    })
  }

  update(recordId: string): Operation {
    return this.#author('update', recordId, { title: `Todo ${this.#sequenceNumber} ${PADDING}` })
  }

  #author(type: 'insert' | 'update', recordId: string, data: Operation['data']): Operation {
    this.#sequenceNumber++
    const operation: Operation = {
      id: '',
      nodeId: this.nodeId,
      type,
      collection: 'todos',
      recordId,
      data,
      previousData: type === 'insert' ? null : { title: `Todo before ${PADDING}` },
      timestamp: {
        wallTime: this.#startedAt + Math.floor(this.#sequenceNumber / 1000),
        logical: this.#sequenceNumber % 1000,
        nodeId: this.nodeId,
      },
      sequenceNumber: this.#sequenceNumber,
      causalDeps: this.#lastId === null ? [] : [this.#lastId],
      schemaVersion: 1,
    }
    this.#lastId = computeOperationId(operation)
    return { ...operation, id: this.#lastId }
  }
}

/** The frame in which a client sends these operations. */
export function batchFrame(messageId: string, operations: readonly Operation[]): string {
  const texts = operations.map(operationToWireJson)
  return `{"type":"operation-batch","messageId":"${messageId}","operations":[${texts.join(',')}],"isFinal":true,"batchIndex":0}`
}
