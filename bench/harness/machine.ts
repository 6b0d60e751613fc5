import { spawnSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'

/** What results are worth little without: where they come from, and of which state of the sources. */
export interface Machine {
  readonly node: string
  readonly platform: string
  readonly cpu: { readonly model: string; readonly count: number }
  readonly memoryBytes: number
  /** null outside of a checkout */
  readonly commit: string | null
  /** True when the sources are not those of the commit. */
  readonly isChanged: boolean
}

export function describeMachine(): Machine {
  const [{ model } = { model: 'unknown' }] = cpus()
  const changes = git('status', '--porcelain', '--untracked-files=no')
  return {
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    cpu: { model, count: cpus().length },
    memoryBytes: totalmem(),
    commit: git('rev-parse', 'HEAD'),
    isChanged: changes !== null && changes !== '',
  }
}

/** @returns null where there is no git, or no checkout */
function git(...args: string[]): string | null {
  const { status, stdout } = spawnSync('git', args, { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}
