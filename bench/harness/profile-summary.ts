import { existsSync, readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { fileURLToPath } from 'node:url'

type CallFrame = CpuProfile['nodes'][number]['callFrame']

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: {
      readonly functionName: string
      readonly url: string
      /** Both from 0. */
      readonly lineNumber: number
      readonly columnNumber: number
    }
    readonly children?: readonly number[]
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface CostLine {
  readonly name: string
  readonly ms: number
}

/** Where the time of a profile went: by function, each without what it called. Idle time is left out. */
export function summarizeProfile(file: string): CostLine[] {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile
  const namesById = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const msByName = new Map<string, number>()
  profile.samples.forEach((id, index) => {
    const name = namesById.get(id) ?? ''
    const ms = (profile.timeDeltas[index] ?? 0) / 1000
    if (name !== '(idle)') msByName.set(name, (msByName.get(name) ?? 0) + ms)
  })
  return [...msByName].map(([name, ms]) => ({ name, ms })).sort((a, b) => b.ms - a.ms)
}

function nameOf({ functionName, url, lineNumber, columnNumber }: CallFrame): string {
  const file = sourceOf(url, lineNumber, columnNumber)
  return file === '' ? functionName : `${functionName || '(anonymous)'} ${file}`
}

const mapsByUrl = new Map<string, SourceMap | null>()

/** In which source of the project, or of which library, a place of the bundle is. */
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
