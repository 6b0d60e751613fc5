import type { Command } from 'commander'
import type { ServerConfig } from '../../config/server-config.ts'
import { ConfigError } from '../../core/errors.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { EXIT_FAILED } from '../output/errors.ts'
import { type ReportFormat, reportFormatOption, toJsonText } from '../output/report-format.ts'
import { askStatus, type ServerAnswer } from '../status/ask-server.ts'
import { renderStatus } from '../status/render-status.ts'

interface StatusFlags extends ConfigOptionValues {
  readonly url?: string
  readonly token?: string
  readonly ready?: boolean
  readonly format?: ReportFormat
}

/** `kora-server status`: asks a running server how it is. */
export function addStatusCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('status')
    .summary('ask a running server how it is')
    .description('Asks a running server and prints what it says. Exit code 1 when it is not healthy.')
    .option('--url <url>', 'http(s) URL of the server (default: where the configuration listens)')
    .option('--token <token>', 'admin token (default: that of the configuration, env KORA_ADMIN_TOKEN)')
    .option('--ready', 'only ask whether it takes traffic: for health checks, needs no token')
    .addOption(reportFormatOption())
  addConfigOptions(command, [])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server status
  $ kora-server status --url https://sync.example.com --format json
  $ kora-server status --ready`,
    )
    .action((flags: StatusFlags) => runStatus(flags, context))
}

async function runStatus(flags: StatusFlags, { terminal, setExitCode }: CommandContext): Promise<void> {
  // Whoever names the server needs no configuration of one.
  const config =
    flags.url !== undefined && (flags.ready || flags.token !== undefined)
      ? null
      : (await loadCommandConfig(flags, terminal)).values
  const answer = await askStatus({
    urls:
      flags.url === undefined
        ? urlsOf(config)
        : { operations: parseUrl(flags.url), health: parseUrl(flags.url) },
    token: flags.token ?? config?.admin.adminToken ?? null,
    asksOnlyReady: flags.ready === true,
  })
  if (!answer.isHealthy) setExitCode(EXIT_FAILED)
  await print(answer, flags, terminal)
}

async function print(
  answer: ServerAnswer,
  { ready, format }: StatusFlags,
  terminal: CommandContext['terminal'],
): Promise<void> {
  if (format === 'json') await terminal.stdout.write(toJsonText(answer.details))
  else if (!ready && answer.isReached) await terminal.stdout.write(renderStatus(answer, terminal))
  else if (answer.isHealthy) await terminal.stdout.write('ready\n')
  if (answer.problem !== null) await terminal.stderr.write(`${answer.problem}\n`)
  for (const note of answer.notes) await terminal.stderr.write(`${note}\n`)
}

function urlsOf(config: ServerConfig | null): { operations: URL; health: URL } {
  if (config === null) throw new Error('A server without a URL is found through the configuration')
  const health = urlOf(config.host, config.port, config.tls !== null)
  const { listener } = config.admin
  return { health, operations: listener === null ? health : urlOf(listener.host, listener.port, false) }
}

function urlOf(host: string, port: number, isSecure: boolean): URL {
  if (port === 0) {
    throw new ConfigError('INVALID_ARGUMENT', 'Port 0 is any free port, so name the server with --url.')
  }
  const reached = host === '0.0.0.0' || host === '::' ? 'localhost' : host
  return new URL(
    `${isSecure ? 'https' : 'http'}://${reached.includes(':') ? `[${reached}]` : reached}:${port}/`,
  )
}

function parseUrl(text: string): URL {
  const withScheme = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`
  if (URL.canParse(withScheme)) {
    const url = new URL(withScheme.replace(/^ws(s?):/i, 'http$1:'))
    if (url.protocol === 'http:' || url.protocol === 'https:') return url
  }
  throw new ConfigError('INVALID_ARGUMENT', `--url: "${text}" is not a URL such as http://localhost:4567.`)
}
