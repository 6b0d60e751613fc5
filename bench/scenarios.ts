import type { Scenario } from './harness/scenario.ts'
import { fanOutScenarios } from './scenarios/fan-out.ts'
import { firstSyncScenarios } from './scenarios/first-sync.ts'
import { growthScenarios } from './scenarios/growth.ts'
import { ingestScenarios } from './scenarios/ingest.ts'
import { postgresScenarios } from './scenarios/postgres.ts'
import { resourceScenarios } from './scenarios/resources.ts'
import { worstClientScenarios } from './scenarios/worst-clients.ts'

export const scenarios: readonly Scenario[] = [
  ...ingestScenarios,
  ...growthScenarios,
  ...fanOutScenarios,
  ...firstSyncScenarios,
  ...resourceScenarios,
  ...worstClientScenarios,
  ...postgresScenarios,
]
