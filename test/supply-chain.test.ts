import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(`${ROOT}/${path}`, 'utf8')

interface LockedPackage {
  readonly dev?: boolean
  readonly integrity?: string
  readonly resolved?: string
  readonly hasInstallScript?: boolean
}

const manifest = JSON.parse(read('package.json'))
const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockedPackage> }
/** What is installed at run time. */
const locked = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && dev !== true)

describe('what is installed', () => {
  test('is locked by its hash, and comes from whichever registry the user has', () => {
    expect(locked.length).toBeGreaterThan(100)
    expect(locked.filter(([, { integrity }]) => !integrity?.startsWith('sha512-'))).toEqual([])
    expect(locked.filter(([, { resolved }]) => resolved !== undefined)).toEqual([])
  })

  test('needs no install script at run time, but for SQLite on Node 20', () => {
    const scripted = locked.filter(([, { hasInstallScript }]) => hasInstallScript)

    expect(scripted.map(([path]) => path)).toEqual(['node_modules/better-sqlite3-node20'])
  })

  test('has a bill of materials that names every dependency, and no tool', () => {
    const sbom = JSON.parse(execFileSync(`${ROOT}/scripts/sbom.sh`, { encoding: 'utf8' }))

    const names = sbom.components.map(({ name }: { name: string }) => name)
    expect(sbom).toMatchObject({ bomFormat: 'CycloneDX', metadata: { component: { name: 'kora-server' } } })
    expect(names).toEqual(expect.arrayContaining(Object.keys(manifest.dependencies)))
    for (const tool of ['vitest', 'typescript', '@biomejs/biome']) expect(names).not.toContain(tool)
  }, 60_000)
})

interface Workflow {
  readonly permissions: Record<string, string>
  readonly jobs: Record<string, Job>
}

interface Job {
  readonly 'timeout-minutes'?: number
  readonly strategy?: { readonly matrix: { readonly [name: string]: readonly string[] } }
  readonly steps: readonly { readonly uses?: string; readonly run?: string; readonly with?: object }[]
}

const FOLDER = '.github/workflows'
const GATE = 'sudo -E env "PATH=$PATH" KORA_GATE=1 .ci/run'
const WORKFLOWS: readonly [file: string, workflow: Workflow][] = readdirSync(`${ROOT}/${FOLDER}`).map(
  (file) => [file, parse(read(`${FOLDER}/${file}`))],
)

describe.each(WORKFLOWS)('the workflow %s', (file, { permissions, jobs }) => {
  test('may read, and nothing else unless a job says so', () => {
    expect(permissions).toEqual({ contents: 'read' })
  })

  test('runs actions of one commit each, and ends', () => {
    const uses = Object.values(jobs).flatMap(({ steps }) => steps.flatMap((step) => step.uses ?? []))

    expect(uses.length).toBeGreaterThan(0)
    for (const action of uses) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/)
    for (const job of Object.values(jobs)) expect(job['timeout-minutes']).toBeGreaterThan(0)
  })

  test('puts nothing of an event into a shell', () => {
    const commands = Object.values(jobs).flatMap(({ steps }) => steps.flatMap((step) => step.run ?? []))

    for (const command of commands) expect(command).not.toMatch(/\$\{\{\s*github\.event/)
  })

  test('runs the gate as root, with every test that needs a tool', () => {
    const commands = Object.values(jobs).flatMap(({ steps }) => steps.flatMap((step) => step.run ?? []))

    for (const command of commands.filter((each) => each.includes('.ci/run'))) {
      expect([GATE, `${GATE} tools`]).toContain(command)
    }
  })

  test('asks only for scripts that there are', () => {
    const scripts = [...read(`${FOLDER}/${file}`).matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name)

    expect(Object.keys(manifest.scripts)).toEqual(expect.arrayContaining(scripts))
  })
})

test('every part of the nightly command is run each night', () => {
  const script = read('scripts/nightly.sh')
  const parts = [...script.matchAll(/^# {3}([a-z-]+) {2,}\S/gm)].map(([, part]) => part)
  const { jobs } = parse(read(`${FOLDER}/nightly.yml`)) as Workflow

  expect(parts.length).toBeGreaterThan(1)
  expect(script).toContain(`set -- ${parts.join(' ')}\n`)
  expect(jobs.nightly?.strategy?.matrix.part).toEqual(parts)
  expect(jobs.nightly?.steps.map(({ run }) => run)).toContainEqual(
    expect.stringMatching(/npm run test:nightly -- \$\{\{ matrix\.part \}\}$/),
  )
})

test('a release is gated, audited, and published with provenance and bills of materials', () => {
  const { jobs } = parse(read(`${FOLDER}/release.yml`)) as Workflow
  const commandsOf = (job: string): string[] => jobs[job]?.steps.flatMap(({ run }) => run ?? []) ?? []

  expect(commandsOf('check')).toEqual(expect.arrayContaining(['npm audit --omit=dev', GATE]))
  expect(commandsOf('package').join('\n')).toMatch(/sbom\.sh[\s\S]*npm publish --provenance/)
  expect(commandsOf('image').join('\n')).toMatch(
    /buildx build .*--provenance=mode=max --sbom=true[\s\S]*--push/,
  )
  for (const job of ['package', 'image']) expect(jobs[job]).toMatchObject({ needs: 'check' })
})
