import type { Operation, Timestamp } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'

const runtime = systemRuntime()
const PADDING = 'with a text as long as people write, so that it is of the usual size'

/** So many edits of a record are later than a late one. */
const LATE_BY = 150

/** One device's operations: inserts with the ids, clocks and dependencies that a real client gives them. */
export class OperationSource {
  readonly nodeId: string
  readonly #userId: string
  readonly #startedAt = Date.now()
  /** Edits are a millisecond apart, and none is ahead of the server's clock. */
  #editedAt = this.#startedAt - 60_000
  #lateEdits = 0
  #sequenceNumber = 0
  #lastId: string | null = null

  constructor(nodeId: string = runtime.uuid(), userId = 'user-1') {
    this.nodeId = nodeId
    this.#userId = userId
  }

  insert(userId: string = this.#userId): Operation {
    return this.#insertOf({
      title: `Todo ${this.#sequenceNumber} ${PADDING}`,
      completed: this.#sequenceNumber % 3 === 0,
      userId,
      position: this.#sequenceNumber / 7,
    })
  }

  /** With a text of so many bytes. */
  insertOf(textBytes: number): Operation {
    const title = 'x'.repeat(textBytes)
    return this.#insertOf({ title, completed: false, userId: this.#userId, position: 0 })
  }

  /** Small, and refused: its title is no text. */
  misfit(): Operation {
    return this.#insertOf({ title: 7 })
  }

  #insertOf(data: Operation['data']): Operation {
    return this.#author({
      type: 'insert',
      collection: 'todos',
      recordId: runtime.uuid(),
      data,
      previousData: null,
    })
  }

  update(recordId: string): Operation {
    return this.#author({
      type: 'update',
      collection: 'todos',
      recordId,
      data: { title: `Todo ${this.#sequenceNumber} ${PADDING}` },
      previousData: { title: `Todo before ${PADDING}` },
    })
  }

  /** An edit of a field that is merged; the first makes the record. Late: its clock is before those of the last. */
  edit(recordId: string | null, isLate = false): Operation {
    const clock = isLate
      ? { wallTime: this.#editedAt - LATE_BY, logical: ++this.#lateEdits }
      : { wallTime: ++this.#editedAt, logical: 0 }
    return this.#author(
      {
        type: recordId === null ? 'insert' : 'update',
        collection: 'notes',
        recordId: recordId ?? runtime.uuid(),
        data: { tags: [`tag ${this.#sequenceNumber % 20}`] },
        previousData: recordId === null ? null : { tags: [] },
      },
      clock,
    )
  }

  #author(
    change: Pick<Operation, 'type' | 'collection' | 'recordId' | 'data' | 'previousData'>,
    clock?: Pick<Timestamp, 'wallTime' | 'logical'>,
  ): Operation {
    this.#sequenceNumber++
    const wallTime = this.#startedAt + Math.floor(this.#sequenceNumber / 1000)
    const logical = this.#sequenceNumber % 1000
    const operation: Operation = {
      id: '',
      nodeId: this.nodeId,
      ...change,
      timestamp: { wallTime, logical, ...clock, nodeId: this.nodeId },
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
