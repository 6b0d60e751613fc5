import type { ConfigOption, GroupOption, ValueOption } from './options.ts'
import { OPTIONS } from './options.ts'

/** The options table in nested form, like a configuration file. */
export interface GroupNode {
  /** Null for the root. */
  readonly option: GroupOption | null
  readonly children: ReadonlyMap<string, OptionNode>
}

export type OptionNode = GroupNode | ValueNode

export interface ValueNode {
  readonly option: ValueOption
}

/** True for a node that contains other options and is not one itself. */
export function isGroupNode(node: OptionNode): node is GroupNode {
  return 'children' in node
}

/** @throws Error when the table names a group before it describes it */
export function buildOptionTree(options: readonly ConfigOption[] = OPTIONS): GroupNode {
  const root = { option: null, children: new Map<string, OptionNode>() }
  const childrenByPath = new Map([['', root.children]])
  for (const option of options) {
    const { parentPath, name } = splitPath(option.path)
    const siblings = childrenByPath.get(parentPath)
    if (siblings === undefined) throw new Error(`${option.path} stands before its group`)
    if ('type' in option) {
      siblings.set(name, { option })
      continue
    }
    const children = new Map<string, OptionNode>()
    siblings.set(name, { option, children })
    childrenByPath.set(option.group === 'list' ? `${option.path}[]` : option.path, children)
  }
  return root
}

/** True where an option applies while its group's discriminant has this value. */
export function isApplicable(node: OptionNode, discriminant: unknown): boolean {
  const when = node.option?.when
  return when === undefined || when.some((value) => value === discriminant)
}

function splitPath(path: string): { parentPath: string; name: string } {
  const dot = path.lastIndexOf('.')
  return { parentPath: path.slice(0, Math.max(dot, 0)), name: path.slice(dot + 1) }
}
