import { join } from 'node:path'
import type { RunOptions } from './options.ts'
import type { Sample, Scenario } from './scenario.ts'

/** All samples of one scenario, by variant. */
export interface ScenarioResult {
  readonly scenario: Scenario
  readonly samples: ReadonlyMap<string, readonly Sample[]>
}

/**
 * Measures a scenario: every variant in every round, the order turned by one each time, so that a
 * machine that gets slower or faster meanwhile does so for all of them.
 */
export async function measure(
  scenario: Scenario,
  options: Omit<RunOptions, 'label'>,
  rounds: number,
): Promise<ScenarioResult> {
  const variants = variantsFor(scenario, options)
  const samples = new Map<string, Sample[]>(variants.map((variant) => [variant, []]))
  for (let round = 0; round < rounds; round++) {
    const shift = round % variants.length
    const order = [...variants.slice(shift), ...variants.slice(0, shift)]
    const profileDirectory = options.profileDirectory && join(options.profileDirectory, `round-${round + 1}`)
    for (const variant of order) {
      const label = `${scenario.name}-${variant}`
      const sample = await scenario.run(variant, { ...options, label, profileDirectory })
      samples.get(variant)?.push(sample)
    }
  }
  return { scenario, samples }
}

/** Small runs leave out the sizes between the largest and the smallest. */
function variantsFor(
  { variants, isGrowth = false }: Scenario,
  { size }: Pick<RunOptions, 'size'>,
): readonly string[] {
  if (size === 'full' || !isGrowth) return variants
  return variants.filter((_, index) => index === 0 || index === variants.length - 1)
}
