import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse as parseToml } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { loadConfig } from '../../src/config/load-config.ts'
import { ENVIRONMENT_VARIABLES } from '../../src/config/options.ts'
import { ConfigFolder } from '../support/config-folder.ts'

type Node = { readonly [key: string]: Node } & string

/** The documents of a file in config/, read strictly: no unknown tags, no key twice. */
function documentsOf(name: string): Node[] {
  return parseAllDocuments(readText(name), { strict: true, uniqueKeys: true }).map((document) => {
    expect(document.errors).toEqual([])
    expect(document.warnings).toEqual([])
    return document.toJS() as Node
  })
}

function readText(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../config/${name}`, import.meta.url)), 'utf8')
}

/** A value inside of a document; throws where the path leads nowhere. */
function at(node: Node | undefined, ...path: (string | number)[]): Node {
  let found = node
  for (const key of path) found = found?.[key as keyof Node] as Node | undefined
  if (found === undefined) throw new Error(`There is nothing at ${path.join('.')}`)
  return found
}

const KORA_AUTH_SECRET = 's'.repeat(32)

/** An environment of a file in config/, with a secret for each that the user is told to set. */
function withSecrets(environment: Node): { readonly [name: string]: string } {
  const values = Object.entries(environment).map(([name, value]) => [
    name,
    value.replaceAll(/\$\{\w+(:[-?][^}]*)?\}/g, KORA_AUTH_SECRET),
  ])
  return { KORA_AUTH_SECRET, ...Object.fromEntries(values) }
}

const configFile = fileURLToPath(new URL('../../config/kora.config.ts', import.meta.url))

describe('config/kora.config.ts', () => {
  const [compose] = documentsOf('compose.yaml')
  const [sqliteCompose] = documentsOf('compose.sqlite.yaml')
  const environments: readonly [name: string, env: { readonly [name: string]: string }, driver: string][] = [
    ['config/compose.yaml', withSecrets(at(compose, 'services', 'kora-server', 'environment')), 'postgres'],
    [
      'config/compose.sqlite.yaml',
      withSecrets(at(sqliteCompose, 'services', 'kora-server', 'environment')),
      'sqlite',
    ],
    ['config/fly.toml', withSecrets(at(parseToml(readText('fly.toml')) as Node, 'env')), 'sqlite'],
    ['config/kora-server.service', { KORA_AUTH_SECRET, KORA_ADMIN_TOKEN: 'a' }, 'sqlite'],
  ]

  test.each(environments)('takes the secrets that %s tells to set', async (_name, env, driver) => {
    const { values } = await loadConfig({ cwd: '/', configFile, env })

    expect(values.store.driver).toBe(driver)
    expect(values.auth).toMatchObject({ mode: 'kora', secret: KORA_AUTH_SECRET })
  })

  test.each(['config/compose.yaml', 'config/fly.toml'])('believes the proxy of %s', async (name) => {
    const [, env = {}] = environments.find(([file]) => file === name) ?? []
    const { values } = await loadConfig({ cwd: '/', configFile, env })
    expect(values.http.trustProxy).toContain('172.16.0.0/12')
  })

  test('takes a key set from the environment', async () => {
    const KORA_JWKS_URL = 'https://auth.example.com/.well-known/jwks.json'
    const { values } = await loadConfig({ cwd: '/', configFile, env: { KORA_JWKS_URL } })
    expect(values.auth).toMatchObject({ mode: 'jwt', jwt: { jwksUrl: KORA_JWKS_URL } })
  })
})

describe('config/kubernetes.yaml', () => {
  const resources = documentsOf('kubernetes.yaml')
  const ofKind = (kind: string): Node | undefined =>
    resources.find((resource) => at(resource, 'kind') === kind)
  const pod = at(ofKind('Deployment'), 'spec', 'template', 'spec')
  const container = at(pod, 'containers', 0)

  test('describes each resource once, all by one name', () => {
    expect(resources.map((resource) => `${at(resource, 'apiVersion')} ${at(resource, 'kind')}`)).toEqual([
      'v1 Secret',
      'v1 ConfigMap',
      'apps/v1 Deployment',
      'v1 Service',
      'policy/v1 PodDisruptionBudget',
      'networking.k8s.io/v1 Ingress',
    ])
    expect(new Set(resources.map((resource) => at(resource, 'metadata', 'name')))).toEqual(
      new Set(['kora-server']),
    )
  })

  test('selects the pods that it makes, and refers to what it defines', () => {
    const labels = at(ofKind('Deployment'), 'spec', 'template', 'metadata', 'labels')
    expect(at(ofKind('Deployment'), 'spec', 'selector', 'matchLabels')).toEqual(labels)
    expect(at(ofKind('Service'), 'spec', 'selector')).toEqual(labels)
    expect(at(ofKind('PodDisruptionBudget'), 'spec', 'selector', 'matchLabels')).toEqual(labels)
    expect(at(ofKind('Service'), 'spec', 'ports', 0, 'targetPort')).toBe(at(container, 'ports', 0, 'name'))
    expect(at(container, 'envFrom', 0, 'secretRef', 'name')).toBe('kora-server')
  })

  test('asks the server where it answers, and ends it only after it has drained', () => {
    expect(at(container, 'livenessProbe', 'httpGet', 'path')).toBe('/health')
    expect(at(container, 'readinessProbe', 'httpGet', 'path')).toBe('/ready')
    const config = at(ofKind('ConfigMap'), 'data', 'kora.config.ts')
    const shutdownSeconds = Number(/shutdownTimeout: '(\d+)s'/.exec(config)?.[1])
    expect(Number(at(pod, 'terminationGracePeriodSeconds'))).toBeGreaterThan(shutdownSeconds + 5)
  })

  test('has a configuration that takes the secrets', async () => {
    using folder = new ConfigFolder(at(ofKind('ConfigMap'), 'data'))
    const env = at(ofKind('Secret'), 'stringData')
    const { values } = await loadConfig({ cwd: folder.path, env })
    expect(values.auth).toMatchObject({ mode: 'kora', secret: at(env, 'KORA_AUTH_SECRET') })
    expect(values.store).toMatchObject({ driver: 'postgres', connectionString: at(env, 'DATABASE_URL') })
    expect(values.http.trustProxy).toEqual(['10.0.0.0/8'])
  })

  test('bounds no body, which the server does', () => {
    const annotations = at(ofKind('Ingress'), 'metadata', 'annotations')
    expect(at(annotations, 'nginx.ingress.kubernetes.io/proxy-body-size')).toBe('0')
  })

  test('sets only variables that the server reads', () => {
    for (const name of Object.keys(at(ofKind('Secret'), 'stringData')))
      expect(ENVIRONMENT_VARIABLES).toContain(name)
  })
})

describe('config/fly.toml', () => {
  const fly = at(parseToml(readText('fly.toml')) as Node)

  test('serves from the port that it sets, and stores on the volume that it mounts', () => {
    expect(String(at(fly, 'http_service', 'internal_port'))).toBe(at(fly, 'env', 'PORT'))
    expect(at(fly, 'env', 'KORA_DB').startsWith(`${at(fly, 'mounts', 'destination')}/`)).toBe(true)
    expect(at(fly, 'http_service', 'checks', 0, 'path')).toBe('/ready')
    for (const name of Object.keys(at(fly, 'env'))) expect(ENVIRONMENT_VARIABLES).toContain(name)
  })

  test('ends the server only after it has drained', () => {
    expect(Number.parseInt(at(fly, 'kill_timeout'), 10)).toBeGreaterThan(10)
    expect(at(fly, 'kill_signal')).toBe('SIGTERM')
  })
})

describe('config/kora-server.service', () => {
  const lines = readText('kora-server.service').split('\n')
  const valuesOf = (name: string) =>
    lines.filter((line) => line.startsWith(`${name}=`)).map((line) => line.slice(name.length + 1))

  test('starts the server on data of its own, as a user of its own', () => {
    const [command = ''] = valuesOf('ExecStart')
    expect(command).toMatch(/^\/\S+\/kora-server start --config \/etc\/kora-server\/kora\.config\.ts$/)
    expect(valuesOf('DynamicUser')).toEqual(['yes'])
    const [directory = ''] = valuesOf('StateDirectory')
    const variables = valuesOf('Environment').join(' ').split(' ')
    expect(variables).toContain(`KORA_DB=/var/lib/${directory}/kora-server.db`)
    for (const variable of variables) {
      const [name = ''] = variable.split('=')
      if (name !== 'NODE_ENV') expect(ENVIRONMENT_VARIABLES).toContain(name)
    }
  })

  test('has a script in docs/deployment.md that runs other commands as the unit runs the server', () => {
    const docs = readFileSync(fileURLToPath(new URL('../../docs/deployment.md', import.meta.url)), 'utf8')
    const [, script = ''] = /```sh\n#!\/bin\/sh\n(.*?)```/s.exec(docs) ?? []
    for (const name of ['DynamicUser', 'UMask', 'StateDirectory', 'StateDirectoryMode', 'EnvironmentFile'])
      expect(script).toContain(`--property=${name}=${valuesOf(name)[0]} `)
    expect(script).toContain('--property=User=kora-server ') // by which systemd calls the user of the unit, too
    const [, file] = /\b(KORA_DB=\S+)/.exec(valuesOf('Environment').join(' ')) ?? []
    expect(script).toContain(`--setenv=${file} `)
    const [program, config] = valuesOf('ExecStart')[0]?.split(' start ') ?? []
    expect(script).toContain(`${program} "$@" ${config}\n`)
  })

  test('ends the server only after it has drained, and forbids nothing that Node needs', () => {
    expect(Number(valuesOf('TimeoutStopSec')[0])).toBeGreaterThan(10)
    expect(valuesOf('MemoryDenyWriteExecute')).toEqual([])
    expect(valuesOf('SystemCallFilter')[0]?.split(' ')).toContain('@pkey')
  })
})

describe('config/monitoring/alerts.yaml', () => {
  const rules = at(documentsOf('monitoring/alerts.yaml')[0], 'groups', 0, 'rules') as unknown as Node[]

  test('compares only servers of one job, which share a database', () => {
    const rule = rules.find((each) => at(each, 'alert') === 'KoraServersDisagree')
    const aggregations = at(rule, 'expr').match(/\b(max|min)\b[^(]*\(\w+\)/g)
    expect(aggregations).toEqual(['max by (job)', 'min by (job)'])
  })
})

describe('config/compose.sqlite.yaml', () => {
  const [compose] = documentsOf('compose.sqlite.yaml')
  const server = at(compose, 'services', 'kora-server')

  test('keeps what is stored in its volume, and can write nothing else', () => {
    expect(at(server, 'volumes', 0)).toBe('data:/data')
    expect(Object.keys(at(compose, 'volumes'))).toEqual(['data'])
    expect(at(server, 'environment', 'KORA_BACKUP_DIRECTORY').startsWith('/data/')).toBe(true)
    expect(at(server, 'read_only')).toBe(true)
    for (const name of Object.keys(at(server, 'environment'))) expect(ENVIRONMENT_VARIABLES).toContain(name)
  })
})

describe('config/compose.yaml', () => {
  const [compose] = documentsOf('compose.yaml')
  const server = at(compose, 'services', 'kora-server')

  test('runs several servers on one database, which is up before them', () => {
    expect(Number(at(server, 'deploy', 'replicas'))).toBeGreaterThan(1)
    expect(at(server, 'depends_on', 'postgres', 'condition')).toBe('service_healthy')
    for (const name of Object.keys(at(server, 'environment'))) expect(ENVIRONMENT_VARIABLES).toContain(name)
  })

  test('defines every volume and configuration that it names', () => {
    expect(Object.keys(at(compose, 'volumes'))).toEqual(['postgres'])
    expect(at(compose, 'services', 'proxy', 'configs', 0, 'source')).toBe('nginx')
    expect(at(compose, 'configs', 'nginx', 'content')).toContain('proxy_set_header Upgrade $$http_upgrade')
  })

  test('opens the dashboard that it has a location for, once a token is set', async () => {
    const env = withSecrets(at(server, 'environment'))
    const { values } = await loadConfig({ cwd: '/', configFile, env })

    expect(env).toHaveProperty('KORA_ADMIN_TOKEN')
    expect(values.admin.adminToken).toBe(env.KORA_ADMIN_TOKEN)
  })

  test('leaves a dashboard with the server that it began with', () => {
    const nginx = at(compose, 'configs', 'nginx', 'content')
    const [, upstream = ''] = /location \/__kora \{\s+proxy_pass http:\/\/(\w+);/.exec(nginx) ?? []
    expect(nginx).toMatch(new RegExp(`upstream ${upstream} \\{\\s+ip_hash;`))
  })

  test('bounds no body in front of the servers, which they do', () => {
    expect(at(compose, 'configs', 'nginx', 'content')).toContain('client_max_body_size 0;')
  })
})
