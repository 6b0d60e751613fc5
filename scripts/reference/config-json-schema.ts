import { toJsonSchema } from '@valibot/to-json-schema'
import type { GroupNode, OptionNode } from '../../src/config/option-tree.ts'
import { buildOptionTree, isGroupNode } from '../../src/config/option-tree.ts'
import type { ValueOption } from '../../src/config/options.ts'

export type JsonSchema = { readonly [keyword: string]: unknown }

/**
 * The JSON schema of a configuration file, for completion and checks in editors. It knows every
 * key and the type of its value; which keys exclude each other, only the server checks.
 */
export function configJsonSchema(): JsonSchema {
  const server = groupSchema(buildOptionTree())
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Configuration of kora-server',
    type: 'object',
    // With a `server` key the other keys belong to the app's own tools.
    if: { required: ['server'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON schema
    then: { properties: { server: { $ref: '#/definitions/server' }, schema: propertiesOf(server).schema } },
    else: { $ref: '#/definitions/server' },
    definitions: {
      server: { ...server, properties: { $schema: { type: 'string' }, ...propertiesOf(server) } },
    },
  }
}

function nodeSchema(node: OptionNode): JsonSchema {
  if (!isGroupNode(node)) return valueSchema(node.option)
  const group = groupSchema(node)
  const description = node.option === null ? {} : { description: node.option.help }
  if (node.option?.group === 'list') return { ...description, type: 'array', minItems: 1, items: group }
  if (node.option?.canBeFalse) return { ...description, anyOf: [group, { const: false }] }
  return { ...description, ...group }
}

function groupSchema(node: GroupNode): JsonSchema {
  const properties = [...node.children].map(([name, child]) => [name, nodeSchema(child)])
  return { type: 'object', properties: Object.fromEntries(properties), additionalProperties: false }
}

function valueSchema({ type, help, default: defaultValue }: ValueOption): JsonSchema {
  const { $schema: _dialect, ...schema } = (type.json ??
    toJsonSchema(type.schema, { target: 'draft-07' })) as JsonSchema
  return { description: help, ...schema, ...(defaultValue !== undefined && { default: defaultValue }) }
}

function propertiesOf(schema: JsonSchema): { readonly [name: string]: unknown } {
  return schema.properties as { readonly [name: string]: unknown }
}
