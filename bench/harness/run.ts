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
  options: RunOptions,
  rounds: number,
): Promise<ScenarioResult> {
  const samples = new Map<string, Sample[]>(scenario.variants.map((variant) => [variant, []]))
  for (let round = 0; round < rounds; round++) {
    const shift = round % scenario.variants.length
    const order = [...scenario.variants.slice(shift), ...scenario.variants.slice(0, shift)]
    for (const variant of order) samples.get(variant)?.push(await scenario.run(variant, options))
  }
  return { scenario, samples }
}
