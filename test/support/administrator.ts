import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { OF_A, OF_B, travellingTodo } from './canary.ts'
import { OperationAuthor } from './operation-author.ts'
import { pushed, type SocketClient, type SocketServer } from './socket-client.ts'

const LATER = 1_752_000_000_000 // than all that tenants write

/** Takes a record from one tenant to the other and back. What it holds there is the other's to see, and nothing else. */
export class Administrator implements Disposable {
  readonly #author = new OperationAuthor('administrator', LATER)
  readonly #client: SocketClient
  readonly #recordId: string
  #held: FieldValues

  private constructor(client: SocketClient, { recordId, data }: Operation) {
    this.#client = client
    this.#recordId = recordId
    this.#held = data ?? {}
  }

  /** @param traveller inserts the record */
  static async connect(server: SocketServer, traveller: Operation): Promise<Administrator> {
    return new Administrator(await server.connect('administrator', { scopes: null }), traveller)
  }

  /** What the record holds. */
  get held(): FieldValues {
    return this.#held
  }

  async takesAway(round: number): Promise<void> {
    await this.#moves(travellingTodo(OF_B, round))
  }

  async bringsBack(round: number): Promise<void> {
    await this.#moves(travellingTodo(OF_A, round))
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]()
  }

  /** By an update that names what was there before, which none of the others may see. */
  async #moves(values: FieldValues): Promise<void> {
    const update = this.#author.update(this.#recordId, values, { previousData: this.#held })
    this.#client.received.length = 0
    await pushed(this.#client, [update], update.id)
    const refusals = this.#client.ofType('operation-rejected')
    if (refusals.length > 0) throw new Error(`It may not: ${JSON.stringify(refusals)}`)
    this.#held = values
  }
}
