import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { drawCharts } from './charts/draw-charts.ts'
import { describeMachine } from './harness/machine.ts'
import type { RunOptions } from './harness/options.ts'
import { stopPostgres } from './harness/postgres.ts'
import { type CostLine, summarizeProfile } from './harness/profile-summary.ts'
import { printTable, toRows } from './harness/report.ts'
import { measure } from './harness/run.ts'
import type { Scenario } from './harness/scenario.ts'
import { scenarios } from './scenarios.ts'

const PROFILE_LINES = 30
const SMOKE_AT_ONCE = 3 // nothing is compared then, and a scenario mostly waits for its processes to start
const CHART_DIRECTORY = 'docs/images'

/** What all scenarios have in common. */
type SharedOptions = Omit<RunOptions, 'label'>

interface Options {
  readonly smoke: boolean
  readonly repeat?: number
  readonly growth: boolean
  readonly json?: string
  readonly charts?: string
  readonly profile: boolean
  readonly profileDir: string
}

const program = new Command('npm run bench --')
  .argument('[scenario...]')
  .option('--smoke', 'small runs that only check that everything works', false)
  .option('--repeat <n>', 'rounds per scenario (default: 5; with --smoke or --profile 1)', toRounds)
  .option(
    '--growth',
    'the scenarios that grow to 1,000,000 operations, which otherwise run when they are named',
    false,
  )
  .option('--json <file>', 'keeps the results: each round of them, and what they were measured on')
  .option('--charts <file>', 'draws the charts of kept results into docs/images, and measures nothing')
  .option(
    '--profile',
    "writes a CPU profile of each server, for Chrome's or VS Code's viewer, and says which functions took the time",
    false,
  )
  .option('--profile-dir <dir>', 'where the profiles go, in a folder for each run', 'profiles')
  .addHelpText(
    'after',
    `\nScenarios: ${scenarios.map(({ name, title }) => `\n  ${name.padEnd(4)} ${title}`).join('')}`,
  )
  .parse()
const values = program.opts<Options>()
const positionals = program.args

async function main(): Promise<void> {
  if (values.charts !== undefined) {
    process.stdout.write(`${drawCharts(values.charts, scenarios, CHART_DIRECTORY).join('\n')}\n`)
    return
  }
  const unknown = positionals.filter((name) => !scenarios.some((scenario) => scenario.name === name))
  if (unknown.length > 0) program.error(`error: there is no scenario ${unknown.join(', ')}; see --help`)
  const directory = mkdtempSync(join(tmpdir(), 'kora-bench-'))
  const startedAt = new Date()
  const options: SharedOptions = {
    size: values.smoke ? 'smoke' : 'full',
    directory,
    profileDirectory: values.profile ? join(values.profileDir, folderName(startedAt)) : null,
  }
  try {
    await runAll(options, startedAt)
    if (options.profileDirectory !== null) process.stdout.write(describeProfiles(options.profileDirectory))
  } finally {
    await stopPostgres()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** In order of time, and a name on every file system. */
function folderName(time: Date): string {
  return time.toISOString().slice(0, 19).replaceAll(':', '-')
}

function toRounds(text: string): number {
  const rounds = Number(text)
  if (Number.isInteger(rounds) && rounds > 0) return rounds
  throw new InvalidArgumentError('It must be a whole number from 1.')
}

async function runAll(options: SharedOptions, startedAt: Date): Promise<void> {
  const rounds = values.repeat ?? (values.smoke || values.profile ? 1 : 5)
  const chosen = scenarios.filter(isChosen)
  const rowsOf = async (scenario: Scenario) => {
    process.stderr.write(`${scenario.name} ${scenario.title}\n`)
    return toRows(await measure(scenario, options, rounds))
  }
  const rows = (await mapAtOnce(chosen, values.smoke ? SMOKE_AT_ONCE : 1, rowsOf)).flat()
  if (values.json) {
    const { size } = options
    const results = { date: startedAt, ...describeMachine(), size, rounds, rows }
    writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`)
  }
  process.stdout.write(`${printTable(rows, { isJudging: !values.smoke })}\n`)
}

/** Maps in order, so many at a time. */
async function mapAtOnce<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  map: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const waiting = items.entries()
  const work = async (): Promise<void> => {
    for (const [index, item] of waiting) results[index] = await map(item)
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return results
}

function isChosen({ name, isGrowth = false }: Scenario): boolean {
  if (positionals.length > 0) return positionals.includes(name)
  return values.smoke || isGrowth === values.growth
}

/** Of every profile of this run: the stages of an operation's way, and the dearest functions. */
function describeProfiles(directory: string): string {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.cpuprofile'))
    .sort()
  return files
    .map((name) => {
      const { stages, functions } = summarizeProfile(join(directory, name))
      const shown = [describeCosts(stages), describeCosts(functions).slice(0, PROFILE_LINES)]
      return `\n${join(directory, name)}\n${shown.map((lines) => lines.join('\n')).join('\n\n')}\n`
    })
    .join('')
}

function describeCosts(lines: readonly CostLine[]): string[] {
  const totalMs = lines.reduce((sum, { ms }) => sum + ms, 0)
  return lines.map(({ name, ms }) => `${((ms / totalMs) * 100).toFixed(1).padStart(6)} %  ${name}`)
}

await main()
