import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'

/**
 * Writes src/protocol/kora-sync-proto.ts from src/protocol/kora-sync.proto: types for the
 * compiler, and tables that say how each field is read and written. Run it with
 * `npm run generate` after a change of the .proto file; a test compares the two.
 */
const PROTO_FILE = new URL('../src/protocol/kora-sync.proto', import.meta.url)
const GENERATED_FILE = new URL('../src/protocol/kora-sync-proto.ts', import.meta.url)

/** @returns the TypeScript source for the text of a .proto file */
export function generateProtobufSource(protoText: string): string {
  const { root } = protobuf.parse(protoText)
  const messages = root.lookup('kora.sync')
  if (!(messages instanceof protobuf.Namespace)) throw new Error('The .proto file has no package kora.sync')
  const types = messages.nestedArray.filter((nested) => nested instanceof protobuf.Type)
  // A table names those of its nested messages, which therefore come first.
  const ordered = types.toSorted((a, b) => countMessageFields(a) - countMessageFields(b))
  return [HEADER, ...ordered.map(typeSource), ...ordered.map(tableSource)].join('\n')
}

const HEADER = `// Generated from kora-sync.proto by \`npm run generate\`. Changes here are overwritten.

import type { ProtobufTable } from './protobuf-table.ts'
`

/** What TypeScript reads a scalar of the .proto file as. */
const TYPE_BY_SCALAR: Readonly<Record<string, string>> = {
  string: 'string',
  bool: 'boolean',
  int32: 'number',
  uint32: 'number',
  int64: 'number',
}

function typeSource(type: protobuf.Type): string {
  const properties = inFieldOrder(type).map((field) => {
    const element = TYPE_BY_SCALAR[field.type] ?? `Proto${field.type}`
    return `  readonly ${field.name}?: ${field.repeated ? `readonly ${element}[]` : element}\n`
  })
  return `export interface Proto${type.name} {\n${properties.join('')}}\n`
}

function tableSource(type: protobuf.Type): string {
  const fields = inFieldOrder(type).map((field) => {
    const kind = TYPE_BY_SCALAR[field.type] === undefined ? tableName(field.type) : `'${field.type}'`
    const flags = `${field.repeated ? ', isRepeated: true' : ''}${isOptional(field) ? ', isOptional: true' : ''}`
    return `    { number: ${field.id}, name: '${field.name}', kind: ${kind}${flags} },\n`
  })
  return `export const ${tableName(type.name)}: ProtobufTable = {\n  name: '${type.name}',\n  fields: [\n${fields.join('')}  ],\n}\n`
}

/** 'VectorEntry' → 'VECTOR_ENTRY_TABLE' */
function tableName(typeName: string): string {
  return `${typeName.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()}_TABLE`
}

function inFieldOrder(type: protobuf.Type): protobuf.Field[] {
  return type.fieldsArray.toSorted((a, b) => a.id - b.id)
}

function isOptional(field: protobuf.Field): boolean {
  return field.options?.proto3_optional === true
}

function countMessageFields(type: protobuf.Type): number {
  return type.fieldsArray.filter((field) => TYPE_BY_SCALAR[field.type] === undefined).length
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(GENERATED_FILE, generateProtobufSource(readFileSync(PROTO_FILE, 'utf8')))
}
