import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { is, safeParse } from 'valibot'
import { nearestName, quoteName } from '../core/schema/names.ts'
import type { PlainObject } from '../core/schema/plain-object.ts'
import { isPlainObject } from '../core/schema/plain-object.ts'
import { describeValue, displayValue } from './display-value.ts'
import type { GroupNode, OptionNode, ValueNode } from './option-tree.ts'
import { buildOptionTree, isApplicable, isGroupNode } from './option-tree.ts'
import type { OptionType } from './option-types.ts'
import type { ValueOption } from './options.ts'
import { folderProblem } from './read-text.ts'
import type { ConfigEntry, ConfigOrigin } from './server-config.ts'

export interface ConfigProblem {
  /** Path in the configuration: `limits.maxOpsPerMinute`. */
  readonly path: string
  /** Never contains a secret. */
  readonly message: string
}

/** A value from outside the file, which replaces the file's. */
export interface Override {
  readonly value: unknown
  readonly origin: ConfigOrigin
  /** The folder to which a relative path is relative. */
  readonly baseDir: string
}

export interface ParseInput {
  /** The content of the file. */
  readonly raw: PlainObject
  /** The folder to which a relative path in the file, or in a default, is relative. */
  readonly baseDir: string
  /** By option path. */
  readonly overrides: ReadonlyMap<string, Override>
  /** Options of the file that an override makes ineffective. */
  readonly voided: ReadonlySet<string>
}

export interface ParsedOptions {
  /** Nested like the file, complete with defaults, durations in ms, paths absolute. */
  readonly tree: PlainObject
  readonly entries: readonly ConfigEntry[]
  readonly problems: readonly ConfigProblem[]
}

/** Checks a configuration against the table, and finds all problems rather than only the first. */
export function parseOptions(input: ParseInput): ParsedOptions {
  const parser = new OptionsParser(input)
  const tree = parser.parseGroup(buildOptionTree(), input.raw, '')
  return { tree, entries: parser.entries, problems: parser.problems }
}

class OptionsParser {
  readonly entries: ConfigEntry[] = []
  readonly problems: ConfigProblem[] = []
  readonly #input: ParseInput

  constructor(input: ParseInput) {
    this.#input = input
  }

  parseGroup(node: GroupNode, raw: PlainObject, path: string): PlainObject {
    const discriminant = this.#parseDiscriminant(node, raw, path)
    this.#reportUnknownKeys(node, raw, path)
    const values: [string, unknown][] = []
    for (const [name, child] of node.children) {
      const childPath = join(path, name)
      const value = Object.hasOwn(raw, name) && !this.#input.voided.has(childPath) ? raw[name] : undefined
      if (!isApplicable(child, discriminant.value)) {
        if (value !== undefined && discriminant.isFromFile) {
          this.#reportMisplaced(node, child, path, discriminant.value)
        }
        continue
      }
      const parsed = isGroupNode(child)
        ? this.#parseChildGroup(child, value, childPath)
        : this.#parseValue(child, value, childPath)
      if (parsed !== undefined) values.push([name, parsed])
    }
    return Object.fromEntries(values)
  }

  /**
   * Parses the discriminant first, because it decides which of its siblings apply. Options of the file that do not
   * go with it are mistakes only when the file (or the default) chose its value, and when that value is valid.
   */
  #parseDiscriminant(
    node: GroupNode,
    raw: PlainObject,
    path: string,
  ): { value: unknown; isFromFile: boolean } {
    const name = node.option?.discriminant
    const child = name === undefined ? undefined : node.children.get(name)
    if (name === undefined || child === undefined || isGroupNode(child)) {
      return { value: undefined, isFromFile: false }
    }
    const override = this.#input.overrides.get(join(path, name))
    const given = Object.hasOwn(raw, name) ? raw[name] : undefined
    const value = firstDefined(override?.value, given, child.option.default)
    const isFromFile = override === undefined && is(child.option.type.schema, value)
    return { value, isFromFile }
  }

  #parseChildGroup(node: GroupNode, value: unknown, path: string): unknown {
    const { option } = node
    if (option?.group === 'list') return this.#parseList(node, value, path)
    if (value === false && option?.canBeFalse === true) return this.#turnOff(node, path)
    if (value === undefined && option?.group === 'optional' && !this.#hasOverrideBelow(path)) return undefined
    if (value === undefined || isPlainObject(value)) return this.parseGroup(node, value ?? {}, path)
    // Text may be a secret that was meant for an option of the group, so it is not shown.
    const got = typeof value === 'string' ? 'text' : describeValue(value)
    this.#report(path, `expected an object${option?.canBeFalse ? ' or false' : ''}, got ${got}`)
    return undefined
  }

  /** Turns off each switch of a group that is set to `false`; a group without switches is left out. */
  #turnOff(node: GroupNode, path: string): PlainObject | undefined {
    if (node.option?.group === 'optional') return undefined
    const switches = [...node.children].filter(
      ([, child]) => !isGroupNode(child) && child.option.default === true,
    )
    return this.parseGroup(node, Object.fromEntries(switches.map(([name]) => [name, false])), path)
  }

  #parseList(node: GroupNode, value: unknown, path: string): unknown {
    if (value === undefined) return undefined
    if (!Array.isArray(value) || value.length === 0) {
      this.#report(path, 'expected a list with at least one entry')
      return undefined
    }
    return value.map((entry: unknown, index) => {
      const entryPath = `${path}[${index}]`
      if (isPlainObject(entry)) return this.parseGroup(node, entry, entryPath)
      this.#report(entryPath, 'expected an object')
      return {}
    })
  }

  #parseValue({ option }: ValueNode, fromFile: unknown, path: string): unknown {
    const override = this.#input.overrides.get(path)
    const isDefault = override === undefined && fromFile === undefined
    // null does not mean "not given": an empty `scopes:` in YAML must not open everything.
    const given = firstDefined(override?.value, fromFile, option.default)
    if (given === undefined) {
      if (option.isRequired)
        this.#report(path, `missing; expected ${option.type.expects}${hintOf(option.env)}`)
      return undefined
    }
    const origin: ConfigOrigin = override?.origin ?? { kind: isDefault ? 'default' : 'file' }
    const baseDir = override?.baseDir ?? this.#input.baseDir
    const value = this.#checkValue(option, given, { path, origin, baseDir })
    if (value !== undefined) this.entries.push({ path, display: displayValue(option, value), origin })
    return value
  }

  #checkValue(
    { type, isSecret, env }: ValueOption,
    given: unknown,
    { path, origin, baseDir }: { path: string; origin: ConfigOrigin; baseDir: string },
  ): unknown {
    const isText = origin.kind !== 'file' && origin.kind !== 'default' && typeof given === 'string'
    const result = safeParse(type.schema, isText && type.fromText ? type.fromText(given) : given)
    const source = 'name' in origin ? ` (${origin.name})` : ''
    if (!result.success) {
      const got = isSecret ? describeSecret(given, env) : `, got ${describeValue(given)}`
      this.#report(`${path}${source}`, `expected ${type.expects}${got}`)
      return undefined
    }
    const problems = type.inspect?.(result.output) ?? []
    for (const problem of problems) this.#report(`${join(path, problem.path)}${source}`, problem.message)
    if (problems.length > 0) return undefined
    if (!type.isPath || typeof result.output !== 'string' || result.output === ':memory:')
      return result.output
    const absolute = resolve(baseDir, result.output)
    const problem = type.mustExist ? fileProblem(absolute, type) : null
    if (problem === null) return absolute
    this.#report(`${path}${source}`, `${result.output} ${problem}`)
    return undefined
  }

  #reportUnknownKeys(node: GroupNode, raw: PlainObject, path: string): void {
    const valid = [...node.children.keys()]
    for (const name of Object.keys(raw)) {
      if (node.children.has(name)) continue
      const nearest = nearestName(name, valid)
      const hint = nearest === undefined ? `; known here: ${valid.join(', ')}` : `, did you mean ${nearest}?`
      this.#report(join(path, /^[\w$-]{1,60}$/.test(name) ? name : quoteName(name)), `unknown${hint}`)
    }
  }

  #reportMisplaced(parent: GroupNode, child: OptionNode, path: string, actual: unknown): void {
    const childPath = child.option?.path ?? ''
    const discriminant = join(path, parent.option?.discriminant ?? '')
    const wanted = (child.option?.when ?? []).map((value) => `'${value}'`).join(' or ')
    this.#report(childPath, `belongs to ${discriminant} ${wanted}, but it is ${describeValue(actual)}`)
  }

  #hasOverrideBelow(path: string): boolean {
    for (const overridden of this.#input.overrides.keys()) if (overridden.startsWith(`${path}.`)) return true
    return false
  }

  #report(path: string, message: string): void {
    this.problems.push({ path, message })
  }
}

/** What is wrong with the file of an option, to follow its name. A folder in place of a module may have an index file. */
function fileProblem(file: string, { isModule = false }: OptionType): string | null {
  if (!existsSync(file)) return 'not found'
  return isModule ? null : folderProblem(file)
}

function firstDefined(...values: readonly unknown[]): unknown {
  return values.find((value) => value !== undefined)
}

function join(path: string, name: string): string {
  if (name === '') return path
  return path === '' ? name : `${path}.${name}`
}

/** A hint for the most frequent case: a file that passes on a variable that is set to nothing. */
function describeSecret(given: unknown, env: string | undefined): string {
  return given === '' ? `, got nothing${hintOf(env)}` : ''
}

function hintOf(env: string | undefined): string {
  return env === undefined ? '' : ` (or set ${env})`
}
