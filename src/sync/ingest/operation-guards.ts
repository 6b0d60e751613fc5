import { type ErrorCode, StoreError } from '../../core/errors.ts'
import { refuseFutureClock } from '../../core/future-clock.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import type { Operation } from '../../core/operation.ts'
import { checkOperationId } from '../../core/operation-id.ts'
import { type Refusal, refuse } from '../../core/refusal.ts'
import { refuseSchemaViolation } from '../../core/schema/validate-operation.ts'
import type { WriteAccess } from '../../core/write-access.ts'
import { describeValue } from '../../protocol/json-value.ts'
import type { ReceivedOperation } from '../../protocol/messages.ts'
import type { AppendRequest } from '../../store/store.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { GapWatch } from './gap-watch.ts'
import { refuseForgedSnapshot, refuseUnsupportedVersion } from './guards.ts'
import type { PushContext, PushSession } from './push-session.ts'

/** An operation of a batch on its way through the guards. */
export type Guarded =
  /**
   * To be passed to the store, even where it is refused or ignored: it may be stored already, without its author
   * knowing, or being allowed to know.
   */
  | { readonly kind: 'store'; readonly request: AppendRequest }
  /** Nothing to store, nor to look up in the store. */
  | { readonly kind: 'unreadable'; readonly refusal: Refusal }

/** An operation that can be read. */
type Readable = Pick<AppendRequest, 'operation' | 'wireJson'> & { readonly isIdVerified: boolean }

/** Errors that mean that the store failed, not that it was asked for something wrong. */
const STORE_FAILURES: ReadonlySet<ErrorCode> = new Set([
  'STORE_UNAVAILABLE',
  'STORE_CORRUPT',
  'STORE_CLOSED',
  'SERVER_STOPPING',
])

/** The checks that an operation passes before the store: the server's rules, then the application's own. */
export class OperationGuards {
  readonly #session: Pick<PushSession, 'log'>
  readonly #context: PushContext
  readonly #gaps: GapWatch | null

  constructor(session: Pick<PushSession, 'log'>, context: PushContext, gaps: GapWatch | null) {
    this.#session = session
    this.#context = context
    this.#gaps = gaps
  }

  /**
   * Returns a promise only where the application or the store has to be asked: awaiting each operation of a batch
   * costs more than most of the guards.
   */
  guard(received: ReceivedOperation, identity: SessionIdentity): Guarded | Promise<Guarded> {
    if (!received.ok) return { kind: 'unreadable', refusal: received.refusal }
    const { operation, wireJson } = received
    const idCheck = checkOperationId(operation)
    if (idCheck === 'mismatch') this.#context.stats.idMismatches++
    const readable = { operation, wireJson, isIdVerified: idCheck === 'verified' }
    const refusal = this.#refuseByRule(readable, identity)
    if (refusal === null && this.#context.validateOperation !== undefined) {
      return this.#guardAsking(readable, identity)
    }
    const access = this.#accessTo(operation.nodeId, identity)
    const against = refusal === null ? {} : { refusal }
    if (access instanceof Promise) return access.then((known) => toStore(readable, known, against))
    return toStore(readable, access, against)
  }

  async #guardAsking(readable: Readable, identity: SessionIdentity): Promise<Guarded> {
    const applicationVerdict = await this.#validate(readable.operation, identity)
    const access = await this.#accessTo(readable.operation.nodeId, identity)
    return toStore(readable, access, applicationVerdict === null ? {} : { applicationVerdict })
  }

  #accessTo(nodeId: string, { access }: SessionIdentity): WriteAccess | Promise<WriteAccess> {
    return this.#gaps?.hasGap ? access.writesUncounted : access.writesAs(nodeId)
  }

  #refuseByRule({ operation, isIdVerified }: Readable, { nodeId }: SessionIdentity): Refusal | null {
    const { store, runtime, supportedSchemaVersions } = this.#context
    const schema = store.getSchema()
    return (
      refuseForgedSnapshot(operation, { isIdVerified, ownNodeId: nodeId }) ??
      refuseFutureClock(operation, runtime.now()) ??
      refuseUnsupportedVersion(operation, supportedSchemaVersions.max) ??
      (schema === null ? null : refuseSchemaViolation(operation, schema))
    )
  }

  /**
   * Asks the application about an operation. It gets a copy, so that nothing it changes can make the record or its
   * access differ from the log. null: the application accepts the operation.
   */
  async #validate(operation: Operation, identity: SessionIdentity): Promise<Refusal | 'ignore' | null> {
    const { validateOperation, kora } = this.#context
    if (validateOperation === undefined) return null
    try {
      return parseVerdict(await validateOperation(structuredClone(operation), { auth: identity.auth, kora }))
    } catch (error) {
      // The store cannot be read just now. A refusal would be final, so the error ends the session and the client
      // sends again.
      if (error instanceof StoreError && STORE_FAILURES.has(error.code)) throw error
      this.#session.log(LOG_EVENTS.validatorFailed, { operationId: operation.id, err: error })
      return refuse('VALIDATION_ERROR', 'The server could not check the operation.')
    }
  }
}

/**
 * Parses strictly, because a refusal is final and must not result from a slip of the application.
 *
 * @throws TypeError for anything but a verdict
 */
function parseVerdict(verdict: unknown): Refusal | 'ignore' | null {
  const { action, code, message, retriable }: { readonly [property: string]: unknown } = Object(verdict)
  if (action === 'accept') return null
  if (action === 'ignore') return 'ignore'
  if (action === 'reject' && typeof code === 'string' && typeof message === 'string') {
    return { code, message, retriable: retriable === true }
  }
  throw new TypeError(
    `validateOperation returned no verdict. Its action is ${describeValue(action)}: accept, ignore, or reject with a code and a message.`,
  )
}

function toStore(
  { operation, wireJson, isIdVerified }: Readable,
  access: WriteAccess,
  against: Pick<AppendRequest, 'refusal' | 'applicationVerdict'>,
): Guarded {
  return { kind: 'store', request: { operation, wireJson, access, isIdVerified, ...against } }
}
