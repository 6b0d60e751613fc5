import type { Operation, Timestamp } from '../../src/core/operation.ts'
import type { CollectionDefinition, FieldDescriptor } from '../../src/core/schema/types.ts'

export function timestampAt(wallTime: number, options: Partial<Timestamp> = {}): Timestamp {
  return { wallTime, logical: 0, nodeId: 'node-a', ...options }
}

/** An operation of record `r1` of `docs`, with what the test leaves open filled in. */
export function buildOperation(parts: Partial<Operation> & Pick<Operation, 'type'>): Operation {
  const timestamp = parts.timestamp ?? timestampAt(1)
  return {
    id: `${timestamp.wallTime}-${timestamp.logical}-${timestamp.nodeId}`,
    nodeId: timestamp.nodeId,
    collection: 'docs',
    recordId: 'r1',
    data: null,
    previousData: null,
    sequenceNumber: 1,
    causalDeps: [],
    schemaVersion: 1,
    ...parts,
    timestamp,
  }
}

export function buildField(parts: Partial<FieldDescriptor> & Pick<FieldDescriptor, 'kind'>): FieldDescriptor {
  return {
    required: false,
    defaultValue: undefined,
    auto: false,
    enumValues: null,
    itemKind: null,
    mergeStrategy: null,
    transitions: null,
    ...parts,
  }
}

export function buildCollection(
  fields: { readonly [field: string]: FieldDescriptor },
  parts: Partial<CollectionDefinition> = {},
): CollectionDefinition {
  return {
    fields,
    indexes: [],
    constraints: [],
    resolvers: {},
    scope: [],
    stateMachine: undefined,
    ...parts,
  }
}
