import type { AwarenessState, AwarenessUpdateMessage } from '../../protocol/messages.ts'

export type AwarenessClientId = number | string

export type SendAwareness = (message: AwarenessUpdateMessage) => void

/**
 * Presence for servers that bring their own connections: each client's state is sent to all others. The caller
 * assigns the ids and decides which clients share a relay; nothing is stored, no timer runs.
 *
 * @example
 * const relay = new AwarenessRelay()
 * relay.addClient(7, (message) => socket.send(JSON.stringify(message)))
 * relay.handleUpdate(7, { user: { name: 'Ada', color: '#2563eb' } })
 */
export class AwarenessRelay {
  readonly #sendById = new Map<AwarenessClientId, SendAwareness>()
  readonly #statesById = new Map<AwarenessClientId, AwarenessState>()
  #messageCount = 0

  /** Registers a connection and sends it all present states in one message, or no message where there are none. */
  addClient(clientId: AwarenessClientId, send: SendAwareness): void {
    this.#sendById.set(clientId, send)
    const others = [...this.#statesById].filter(([id]) => id !== clientId)
    if (others.length > 0) send(this.#message(0, others))
  }

  /** Forgets a connection, even one that had only a state, and tells the others that it left. */
  removeClient(clientId: AwarenessClientId): void {
    const hadState = this.#statesById.delete(clientId)
    const wasConnected = this.#sendById.delete(clientId)
    if (hadState || wasConnected) this.#tellOthers(clientId, null)
  }

  /** Stores the state and sends it to all others; null clears it. */
  handleUpdate(clientId: AwarenessClientId, state: AwarenessState | null): void {
    if (state === null) this.#statesById.delete(clientId)
    else this.#statesById.set(clientId, state)
    this.#tellOthers(clientId, state)
  }

  /** All present states by client, in a map of the caller's own. */
  getStates(): Map<AwarenessClientId, AwarenessState> {
    return new Map(this.#statesById)
  }

  #tellOthers(clientId: AwarenessClientId, state: AwarenessState | null): void {
    const message = this.#message(typeof clientId === 'number' ? clientId : 0, [[clientId, state]])
    const errors: unknown[] = []
    for (const [id, send] of this.#sendById) {
      if (id === clientId) continue
      try {
        send(message)
      } catch (error) {
        errors.push(error) // an error of one connection must not keep the state from the others
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, 'Presence could not be sent to every client.')
  }

  #message(
    clientId: number,
    entries: readonly (readonly [AwarenessClientId, AwarenessState | null])[],
  ): AwarenessUpdateMessage {
    this.#messageCount++
    const states: { [clientId: string]: AwarenessState | null } = Object.create(null)
    for (const [id, state] of entries) states[String(id)] = state
    return { type: 'awareness-update', messageId: `awareness-${this.#messageCount}`, clientId, states }
  }
}
