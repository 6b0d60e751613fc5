import { hash } from 'node:crypto'
import { canonicalJson } from '../core/canonical-json.ts'
import { KoraServerError, MutationError } from '../core/errors.ts'
import type { FieldValues, JsonValue, Operation, OperationType } from '../core/operation.ts'
import { encodeBytes } from '../core/record/binary-values.ts'
import { refuse } from '../core/refusal.ts'
import type { Runtime } from '../core/runtime.ts'
import { unknownName } from '../core/schema/names.ts'
import type { CollectionDefinition } from '../core/schema/types.ts'
import { refuseSchemaViolation } from '../core/schema/validate-operation.ts'
import { type RecordInput, validateRecord } from '../core/schema/validate-record.ts'
import { findJsonProblem, isJsonObject, quoteName } from '../protocol/json-value.ts'
import { parseOperation } from '../protocol/parse-operation.ts'
import { resolveCollection } from '../store/query/resolve-query.ts'
import type {
  AppendResult,
  CollectionQueryOptions,
  MaterializedRecord,
  ServerWrite,
  UnmetCondition,
} from '../store/store.ts'
import type { ApplicationAccess } from './authorization.ts'

/** A change of one record, as the application asks for it. */
export interface Mutation {
  readonly collection: string
  readonly type: OperationType
  /** Record id. Generated for an insert that has none; an update and a delete need it. */
  readonly id?: string | undefined
  /** insert: the record's fields, defaults may be left out; update: the changed fields; delete: nothing */
  readonly data?: RecordInput | undefined
  /**
   * 1 to 255 characters. A mutation that is sent again under the same key is made once and returns the same result,
   * except that one whose record was missing is tried again. Another mutation under the same key is refused.
   */
  readonly idempotencyKey?: string | undefined
}

export interface ConditionalMutation extends Mutation {
  readonly type: 'update' | 'delete'
  readonly id: string
  /** Field → the value that it must have now. */
  readonly conditions: RecordInput
}

export interface MutationResult {
  /** Id of the record. */
  readonly id: string
  readonly operationId: string
}

export type ConditionalResult =
  | ({ readonly applied: true } & MutationResult)
  /** Nothing was changed. A missing record fails as `{ field: 'id', actual: null }`. */
  | { readonly applied: false; readonly failedCondition: UnmetCondition }

/**
 * The trusted data plane: reads and writes of the application itself. Its writes pass the same checks as those of
 * clients, except for scopes, and reach every client that may see them.
 *
 * @example
 * await kora.apply({ collection: 'orders', type: 'update', id, data: { paid: true } })
 */
export interface Kora {
  /**
   * Resolves when the change is durable. It wins over everything the record has seen.
   *
   * @throws MutationError `MUTATION_REFUSED` with the refusal: there is (no) such record, a constraint, …
   * @throws SchemaError `UNKNOWN_COLLECTION`, `SCHEMA_VALIDATION`
   * @throws KoraServerError `INVALID_ARGUMENT` for an update or delete without an id, or a key of another length
   * @throws StoreError when nothing was stored
   */
  apply(mutation: Mutation): Promise<MutationResult>
  /**
   * Compare and set: changes the record only if every condition holds at that moment. An unmet condition, or a
   * missing record, is a result and not an error.
   *
   * @throws as `apply`
   * @throws KoraServerError `UNKNOWN_FIELD` for a condition on a field that the collection does not have;
   *   `INVALID_ARGUMENT` for an insert, without conditions, or for one on a value that no record can have
   */
  applyConditional(mutation: ConditionalMutation): Promise<ConditionalResult>
  /** @see ServerStore.queryCollection, also for what it throws */
  query(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]>
  /**
   * null when the record is missing or deleted
   *
   * @see ServerStore.findRecord, also for what it throws
   */
  findById(collection: string, id: string): Promise<MaterializedRecord | null>
}

export interface DataPlaneOptions {
  readonly access: ApplicationAccess
  readonly runtime: Runtime
  readonly write: (write: ServerWrite) => Promise<AppendResult>
  /** Schema version of operations while the store has no schema. */
  readonly schemaVersion: number
  readonly maxOperationBytes: number
}

export class DataPlane implements Kora {
  readonly #options: DataPlaneOptions

  constructor(options: DataPlaneOptions) {
    this.#options = options
    // For apps that take it apart: const { apply } = kora
    this.apply = this.apply.bind(this)
    this.applyConditional = this.applyConditional.bind(this)
    this.query = this.query.bind(this)
    this.findById = this.findById.bind(this)
  }

  async apply(mutation: Mutation): Promise<MutationResult> {
    const write = this.#prepare(mutation, undefined)
    const result = await this.#options.write(write)
    if (result.status === 'refused') throw new MutationError(result.refusal)
    return resultOf(result, write)
  }

  async applyConditional(mutation: ConditionalMutation): Promise<ConditionalResult> {
    if (mutation.type !== 'update' && mutation.type !== 'delete') {
      throw invalidArgument(
        'applyConditional takes an update or a delete: an insert has no values to compare.',
      )
    }
    const write = this.#prepare(mutation, this.#parseConditions(mutation))
    const result = await this.#options.write(write)
    if (result.status !== 'refused') return { applied: true, ...resultOf(result, write) }
    if (result.unmet !== undefined) return { applied: false, failedCondition: result.unmet }
    if (result.refusal.code !== 'RECORD_NOT_FOUND') throw new MutationError(result.refusal)
    return { applied: false, failedCondition: { field: 'id', expected: write.recordId, actual: null } }
  }

  query(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    return this.#options.access.store.queryCollection(collection, options)
  }

  findById(collection: string, id: string): Promise<MaterializedRecord | null> {
    return this.#options.access.store.findRecord(collection, id)
  }

  /** Turns a mutation into a write, after every check that does not need the record. */
  #prepare(mutation: Mutation, conditions: FieldValues | undefined): ServerWrite {
    const { collection, type, id } = mutation
    if (type !== 'insert' && id === undefined) throw invalidArgument(`An ${type} needs the id of its record.`)
    const schema = this.#options.access.store.getSchema()
    const definition = schema === null ? null : resolveCollection(schema, collection)
    const operation = this.#parse(mutation, this.#complete(mutation, definition))
    const refusal = schema === null ? null : refuseSchemaViolation(operation, schema)
    if (refusal !== null) throw new MutationError(refusal)
    return {
      author: 'server',
      access: this.#options.access.write,
      type,
      collection,
      recordId: operation.recordId,
      data: operation.data,
      schemaVersion: operation.schemaVersion,
      ...(conditions && { conditions }),
      ...(mutation.idempotencyKey !== undefined && { key: keyOf(mutation, conditions) }),
    }
  }

  /** What the operation carries: checked by the schema, with defaults, in the stored form. */
  #complete(mutation: Mutation, definition: CollectionDefinition | null): RecordInput | null {
    const { collection, type, data = {} } = mutation
    if (type === 'delete') return null
    const values = definition === null ? data : validateRecord(collection, definition, type, data)
    const stored = Object.entries(values).map(([field, value]) => {
      if (definition?.fields[field]?.kind === 'secret') requireStoredSecret(`${collection}.${field}`, value)
      return [field, value instanceof Uint8Array ? encodeBytes(value) : value]
    })
    if (type === 'insert') stored.push(...this.#automaticValues(definition))
    return Object.fromEntries(stored)
  }

  #automaticValues(definition: CollectionDefinition | null): [string, number][] {
    const fields = Object.entries(definition?.fields ?? {})
    const automatic = fields.filter(([, { auto, kind }]) => auto && kind === 'timestamp')
    return automatic.map(([field]) => [field, this.#options.runtime.now()])
  }

  /** Parsed like an operation of a client, so that whatever would be refused there is refused here. */
  #parse(mutation: Mutation, data: RecordInput | null): Operation {
    const { access, runtime, schemaVersion, maxOperationBytes } = this.#options
    const { store } = access
    const nodeId = store.getNodeId()
    const received = parseOperation(
      {
        id: '0'.repeat(64), // it is given its own with its timestamp, in the transaction
        nodeId,
        type: mutation.type,
        collection: mutation.collection,
        recordId: mutation.id ?? runtime.uuid(),
        data,
        previousData: null,
        timestamp: { wallTime: runtime.now(), logical: 0, nodeId },
        sequenceNumber: 0,
        causalDeps: [],
        schemaVersion: store.getSchema()?.version ?? schemaVersion,
      },
      maxOperationBytes,
    )
    if (!received.ok) throw new MutationError(received.refusal)
    return received.operation
  }

  #parseConditions({ collection, conditions }: ConditionalMutation): FieldValues {
    if (!isJsonObject(conditions) || Object.keys(conditions).length === 0) {
      throw invalidArgument(
        'applyConditional needs conditions: an object of one field or more, and the values they must have.',
      )
    }
    const { access, maxOperationBytes } = this.#options
    const schema = access.store.getSchema()
    const definition = schema === null ? null : resolveCollection(schema, collection)
    const walk = { remainingBytes: maxOperationBytes, isAltered: false }
    const entries = Object.entries(conditions).map(([field, value]): [string, JsonValue] => {
      if (definition !== null && !Object.hasOwn(definition.fields, field)) {
        const names = Object.keys(definition.fields)
        throw new KoraServerError('UNKNOWN_FIELD', unknownName('field', field, names))
      }
      if (value === undefined)
        throw invalidArgument(`The condition for ${field} is undefined; null means no value.`)
      const stored = value instanceof Uint8Array ? encodeBytes(value) : value
      // JSON would write NaN as null, and a record without a value would then meet the condition.
      const problem = findJsonProblem(stored, 2, walk) // as deep as a field of an operation
      if (problem !== null) throw invalidArgument(`conditions.${quoteName(field)}${problem}.`)
      return [field, JSON.parse(JSON.stringify(stored)) as JsonValue] // JSON, as was just checked
    })
    return Object.fromEntries(entries)
  }
}

function resultOf(result: Exclude<AppendResult, { status: 'refused' }>, write: ServerWrite): MutationResult {
  if (result.status === 'applied')
    return { id: write.recordId, operationId: result.entries[0]?.operationId ?? '' }
  const repeated = result.status === 'duplicate' ? result.repeated : undefined
  if (repeated === undefined) throw new Error('A new operation of the server was taken for a duplicate')
  return { id: repeated.recordId, operationId: repeated.operationId }
}

const MAX_KEY_LENGTH = 255

/** The key, with a digest of what it was first used for. A generated id differs each time, so it is left out. */
function keyOf(mutation: Mutation, conditions: FieldValues | undefined): NonNullable<ServerWrite['key']> {
  const { idempotencyKey = '', collection, type, id = null, data = null } = mutation
  if (idempotencyKey === '' || idempotencyKey.length > MAX_KEY_LENGTH) {
    throw invalidArgument(`An idempotency key is text of 1 to ${MAX_KEY_LENGTH} characters.`)
  }
  const content = canonicalJson([collection, type, id, data, conditions ?? null])
  return { hash: hash('sha256', idempotencyKey, 'hex'), contentHash: hash('sha256', content, 'hex') }
}

/** Only the client has the key of an encrypted secret, and plain text must not reach the log. */
function requireStoredSecret(path: string, value: unknown): void {
  if (value === null || (typeof value === 'string' && /^v1(\.[0-9a-f]+){2,3}$/.test(value))) return
  throw new MutationError(
    refuse('SCHEMA_VIOLATION', `${path} is a secret: write it in its stored form, "v1.<salt>.<hash>".`),
  )
}

function invalidArgument(message: string): KoraServerError {
  return new KoraServerError('INVALID_ARGUMENT', message)
}
