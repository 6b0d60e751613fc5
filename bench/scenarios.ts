import type { Scenario } from './harness/scenario.ts'
import { ingestScenarios } from './scenarios/ingest.ts'

export const scenarios: readonly Scenario[] = [...ingestScenarios]
