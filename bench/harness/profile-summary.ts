import { existsSync, readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { fileURLToPath } from 'node:url'

/** As V8 writes it: https://chromedevtools.github.io/devtools-protocol/tot/Profiler/#type-Profile */
interface CpuProfile {
  readonly nodes: readonly CallNode[]
  /** Ids of the nodes that ran, and the microseconds since the sample before. */
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

interface CallNode {
  readonly id: number
  readonly callFrame: {
    readonly functionName: string
    readonly url: string
    /** Both from 0. */
    readonly lineNumber: number
    readonly columnNumber: number
  }
  readonly children?: readonly number[]
}

export interface CostLine {
  readonly name: string
  readonly ms: number
}

/** Where the time of a profile went, the dearest first. Idle time, and that of the profiler, is left out. */
export interface ProfileSummary {
  /** Of the way of an operation: each function counts for that of the nearest source file that called it. */
  readonly stages: readonly CostLine[]
  /** Each without what it called. */
  readonly functions: readonly CostLine[]
}

const COMMIT = 'begin and commit (SQLite)'
const GARBAGE = 'collect garbage'
const ELSEWHERE = "Node's own: sockets, timers, compiling"

const SQLITE_FILES = /^src\/store\/sqlite\/|^bench\/processes\/bare-store/

/** The first that fits. What is used by several stages, as texts of JSON are, counts for its caller. */
const STAGES: readonly (readonly [RegExp, string])[] = [
  [/^src\/core\/(operation-id|canonical-json)/, 'verify ids'],
  [/^src\/protocol\//, 'read and write messages'],
  [/^src\/core\/(record|schema)\/|^src\/store\/(append|integrity)\//, 'judge and merge'],
  [/^src\/store\/sqlite\/(operation-ids|id-bucket)/, 'index of ids'],
  [/^src\/store\/(sqlite|materialize)\//, 'statements (SQLite)'],
  [/^src\/store\/postgres\/|^(pg|pg-pool|pg-protocol)\//, 'statements (PostgreSQL)'],
  [/^src\/(store\/delivery|sync\/(delivery|feed))\//, 'deliver'],
  [/^src\/(sync|transport)\/|^ws\//, 'sessions, queue, WebSocket'],
  [/^src\/(http|cli|auth|core\/metrics)|^(prom-client|pino)\//, 'metrics, log, HTTP'],
  [/^bench\/processes\/bare-store/, 'statements (SQLite)'],
  [/^bench\//, 'the bare server'],
]

export function summarizeProfile(file: string): ProfileSummary {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile
  const stacks = stacksOf(profile)
  const stages = new Map<string, number>()
  const functions = new Map<string, number>()
  profile.samples.forEach((id, index) => {
    const stack = stacks.get(id) ?? []
    const ms = (profile.timeDeltas[index] ?? 0) / 1000
    if (stack[0]?.name === '(idle)' || stack.some(({ file: source }) => source === 'node:inspector')) return
    add(stages, stageOf(stack), ms)
    add(functions, describe(stack[0]), ms)
  })
  return { stages: dearestFirst(stages), functions: dearestFirst(functions) }
}

interface Frame {
  readonly name: string
  /** Of the project (`src/…`), of a library (`ws/…`), of Node (`node:…`); empty: native code. */
  readonly file: string
}

/** Of each node, from itself to what called it first. */
function stacksOf({ nodes }: CpuProfile): ReadonlyMap<number, readonly Frame[]> {
  const nodesById = new Map(nodes.map((node) => [node.id, node]))
  const stacks = new Map<number, readonly Frame[]>()
  const follow = (node: CallNode, callers: readonly Frame[]): void => {
    const stack = [frameOf(node), ...callers]
    stacks.set(node.id, stack)
    for (const id of node.children ?? []) {
      const child = nodesById.get(id)
      if (child !== undefined) follow(child, stack)
    }
  }
  const [root] = nodes
  if (root !== undefined) follow(root, [])
  return stacks
}

function frameOf({ callFrame: { functionName, url, lineNumber, columnNumber } }: CallNode): Frame {
  return { name: functionName || '(anonymous)', file: sourceOf(url, lineNumber, columnNumber) }
}

function stageOf(stack: readonly Frame[]): string {
  const name = stack[0]?.name
  if (name === '(garbage collector)') return GARBAGE
  if (name === 'exec' && stack.some(({ file }) => SQLITE_FILES.test(file))) return COMMIT
  for (const { file } of stack) {
    const stage = STAGES.find(([files]) => files.test(file))
    if (stage !== undefined) return stage[1]
  }
  return ELSEWHERE
}

function describe({ name, file }: Frame = { name: '', file: '' }): string {
  return file === '' ? name : `${name} ${file}`
}

function add(msByName: Map<string, number>, name: string, ms: number): void {
  msByName.set(name, (msByName.get(name) ?? 0) + ms)
}

function dearestFirst(msByName: ReadonlyMap<string, number>): CostLine[] {
  return [...msByName].map(([name, ms]) => ({ name, ms })).sort((a, b) => b.ms - a.ms)
}

const mapsByUrl = new Map<string, SourceMap | null>()

/** In which source a place of the bundle is. */
function sourceOf(url: string, line: number, column: number): string {
  if (!mapsByUrl.has(url)) mapsByUrl.set(url, readSourceMap(url))
  const entry = mapsByUrl.get(url)?.findEntry(line, column)
  const source = entry !== undefined && 'originalSource' in entry ? entry.originalSource : url
  return source.replace(/^.*\/node_modules\/(?!\.cache)|^.*\/(?=(src|bench)\/)/, '')
}

function readSourceMap(url: string): SourceMap | null {
  const file = url.startsWith('file:') ? `${fileURLToPath(url)}.map` : ''
  return existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, 'utf8'))) : null
}
