import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import type { DaemonOptions } from './daemon.ts'
import { ADMIN_TOKEN } from './health.ts'
import type { PostgresServer } from './postgres.ts'

const run = promisify(execFile)

/** True where network namespaces can be made: on Linux, as root, with `ip` and `iptables`. */
export const canIsolate =
  process.platform === 'linux' &&
  process.getuid?.() === 0 &&
  ['ip', 'iptables'].every((tool) => spawnSync(tool, ['-V']).status === 0)

let count = 0

/**
 * A network of its own with one cable to ours. What runs in it is reached at `address`, and reaches
 * us at `gateway`; nothing of it can be reached from elsewhere.
 */
export async function openIsolatedHost(): Promise<IsolatedHost> {
  const number = ++count
  const name = `kora${process.pid}x${number}`
  // Addresses for documentation and benchmarks (RFC 2544), four for each cable.
  const network = (process.pid * 8 + number) % 16_384
  const base = `198.${18 + (network >> 13)}.${(network >> 5) & 255}.`
  const first = (network & 31) * 8
  const host = new IsolatedHost(name, `${base}${first + 1}`, `${base}${first + 2}`)
  await host.open()
  return host
}

export class IsolatedHost implements AsyncDisposable {
  readonly #name: string
  /** Ours, as seen from inside. */
  readonly gateway: string
  /** Of what runs inside. */
  readonly address: string

  constructor(name: string, gateway: string, address: string) {
    this.#name = name
    this.gateway = gateway
    this.address = address
  }

  /** What a command line begins with to run inside. */
  get launcher(): readonly string[] {
    return ['ip', 'netns', 'exec', this.#name]
  }

  async open(): Promise<void> {
    const outer = `${this.#name}o`
    const inner = `${this.#name}i`
    await run('ip', ['netns', 'add', this.#name])
    await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', this.#name])
    await run('ip', ['address', 'add', `${this.gateway}/30`, 'dev', outer])
    await run('ip', ['link', 'set', outer, 'up'])
    await run('ip', ['-n', this.#name, 'address', 'add', `${this.address}/30`, 'dev', inner])
    for (const device of [inner, 'lo']) await run('ip', ['-n', this.#name, 'link', 'set', device, 'up'])
  }

  /** Every packet from and to a port of ours is lost from now on, and nobody is told. */
  async lose(port: number): Promise<void> {
    const outgoing = ['OUTPUT', '-p', 'tcp', '-d', this.gateway, '--dport', String(port)]
    const incoming = ['INPUT', '-p', 'tcp', '-s', this.gateway, '--sport', String(port)]
    for (const rule of [outgoing, incoming]) await this.#iptables('-A', ...rule, '-j', 'DROP')
  }

  async heal(): Promise<void> {
    await this.#iptables('-F')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('ip', ['netns', 'delete', this.#name]) // its end of the cable takes ours with it
  }

  async #iptables(...args: string[]): Promise<void> {
    const [command = '', ...rest] = [...this.launcher, 'iptables', '-w', ...args]
    await run(command, rest)
  }
}

/** How a daemon is started inside of a host, on a database of a server that listens at its gateway. */
export function insideOf(host: IsolatedHost, server: PostgresServer): DaemonOptions {
  return {
    host: host.address,
    launcher: host.launcher,
    env: { DATABASE_URL: server.connectionStringAt(host.gateway), KORA_ADMIN_TOKEN: ADMIN_TOKEN },
  }
}
