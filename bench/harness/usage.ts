import { mkdirSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { dirname } from 'node:path'

/** What a process has used so far. */
export interface Usage {
  /** Of all its threads, in user and kernel mode. */
  readonly cpuMs: number
  readonly rssBytes: number
  readonly peakRssBytes: number
}

export function readUsage({ collectGarbage = false } = {}): Usage {
  if (collectGarbage) for (let round = 0; round < 3; round++) globalThis.gc?.()
  const { user, system } = process.cpuUsage()
  return {
    cpuMs: (user + system) / 1000,
    rssBytes: process.memoryUsage.rss(),
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  }
}

/** A CPU profile of this process, from `start` to `stop`. */
export class Profiler {
  readonly #session = new Session()

  async start(): Promise<void> {
    this.#session.connect()
    await this.#session.post('Profiler.enable')
    await this.#session.post('Profiler.setSamplingInterval', { interval: 200 })
    await this.#session.post('Profiler.start')
  }

  async stop(file: string): Promise<void> {
    const { profile } = await this.#session.post('Profiler.stop')
    this.#session.disconnect()
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, JSON.stringify(profile))
  }
}
