import { readFileSync } from 'node:fs'

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
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

function nameOf({ functionName, url }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url.replace(/^.*\/(?:kora-bench|node_modules)\//, '')
  return file === '' ? functionName : `${functionName || '(anonymous)'} ${file}`
}
