import type { Operation } from '../../src/core/operation.ts'
import { CANARY_BYTES, CANARY_NAME, canaryNote, canaryTodo, OF_A, sha256, travellingTodo } from './canary.ts'
import { OperationAuthor, recordIdOf } from './operation-author.ts'
import { pushed, type SocketClient, type TokenClaims } from './socket-client.ts'

export const CANARY_CLAIMS: TokenClaims = {
  userId: `${CANARY_NAME}-user`,
  scopes: { todos: OF_A, notes: OF_A },
}
const RECORDS = 20 // in each of two collections; half of both are known

/** A tenant that has canaries everywhere. Others know half of its operations and records by their ids. */
export class CanaryTenant {
  readonly blobHash = sha256(CANARY_BYTES)
  readonly known: Operation[] = []
  readonly hidden: Operation[] = []
  /** Inserts the record that an administrator takes to others, and back. */
  readonly traveller: Operation
  readonly #author = new OperationAuthor('alice')
  readonly #hiddenAuthor = new OperationAuthor(`${CANARY_NAME}-node`)

  constructor() {
    for (let i = 0; i < RECORDS; i++) {
      const isHidden = i % 2 === 1
      const author = isHidden ? this.#hiddenAuthor : this.#author
      const note = author.insert(recordIdOf(`note ${i}`), canaryNote(i), { collection: 'notes' })
      const todo = author.insert(recordIdOf(`todo ${i}`), canaryTodo(i, note.recordId, this.blobHash))
      ;(isHidden ? this.hidden : this.known).push(note, todo)
    }
    this.traveller = this.#author.insert(recordIdOf('traveller'), travellingTodo(OF_A, 0))
    this.known.push(this.traveller)
  }

  get operations(): readonly Operation[] {
    return [...this.known, ...this.hidden]
  }

  /** Writes and deletes, moves its cursor, types and shares a file, while others listen. */
  async acts(client: SocketClient, round: number): Promise<void> {
    const target = this.hidden[round % RECORDS] as Operation // of which there are as many
    const text = `${CANARY_NAME} ${round}`
    const update = this.#hiddenAuthor.update(
      target.recordId,
      { title: text },
      {
        collection: target.collection,
        previousData: { title: CANARY_NAME },
        atomicOps: { n: { type: 'increment', value: 1 } },
      },
    )
    this.hidden.push(update)
    const page = (number: number): string => recordIdOf(`page ${number}`)
    const kept = this.#author.insert(page(round), canaryNote(round), { collection: 'notes' })
    const written = [update, kept]
    if (round > 0) written.push(this.#author.delete(page(round - 1), { collection: 'notes' }))
    this.known.push(...written.slice(1))
    const place = { collection: target.collection, recordId: target.recordId, field: 'title' }
    const state = {
      user: { name: text, color: '#000', avatar: text },
      cursor: { ...place, anchor: 0, head: 0 },
    }
    const typed = Buffer.from(text).toString('base64')
    client.send({ type: 'awareness-update', messageId: 'p', clientId: 1, states: { 1: state } })
    client.send({ type: 'yjs-doc-update', messageId: 'y', ...place, field: 'body', update: typed })
    client.send({
      type: 'blob-chunk-push',
      messageId: 'u',
      hash: this.blobHash,
      bytes: CANARY_BYTES.toString('base64'),
    })
    await pushed(client, written, `a${round}`)
  }
}
