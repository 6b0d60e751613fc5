import type { Command } from 'commander'
import { ConfigError } from '../../core/errors.ts'
import { bearerTokenProblem } from '../../http/bearer-token.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { EXIT_FAILED } from '../output/errors.ts'
import { type ReportFormat, reportFormatOption, toJsonText } from '../output/report-format.ts'
import { addressesOf, type ServerAddress } from '../server-address.ts'
import { askStatus, type ServerAnswer, type ServerQuestion } from '../status/ask-server.ts'
import { renderStatus } from '../status/render-status.ts'

interface StatusFlags extends ConfigOptionValues {
  readonly url?: string
  readonly token?: string
  readonly ready?: boolean
  readonly format?: ReportFormat
}

/** `kora-server status`: asks a running server for its status. */
export function addStatusCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('status')
    .summary('ask a running server how it is')
    .description(
      'Asks a running server and prints what it says. Exit code 1 when it is not healthy, or refuses the token.',
    )
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
  const { servers, token } = await findServer(flags, terminal)
  const answer = await askStatus({ servers, token, asksOnlyReady: flags.ready === true })
  if (!answer.isHealthy || answer.isTokenRefused) setExitCode(EXIT_FAILED)
  const notes =
    answer.isListening || flags.url !== undefined ? answer.notes : [...answer.notes, MAY_BE_ELSEWHERE]
  await print({ ...answer, notes }, flags, terminal)
}

const MAY_BE_ELSEWHERE =
  'A server that listens elsewhere is named with --url, as in --url http://localhost:8080.'

/** Finds the server to ask. With its URL and token, no configuration is needed. */
async function findServer(
  flags: StatusFlags,
  terminal: CommandContext['terminal'],
): Promise<Omit<ServerQuestion, 'asksOnlyReady'>> {
  const named = flags.url === undefined ? null : namedServer(flags.url)
  const token = flags.token || null // the shell turns a variable that is not set into an empty one
  if (token !== null) checkToken(token)
  if (named !== null && (flags.ready || token !== null)) return { servers: named, token }
  const { values } = await loadCommandConfig(flags, terminal)
  return { servers: named ?? addressesOf(values), token: token ?? values.admin.adminToken }
}

function namedServer(url: string): ServerQuestion['servers'] {
  const server: ServerAddress = { url: parseUrl(url), certFile: null }
  return { health: server, operations: server }
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

/** Checks the token without quoting it in a message. */
function checkToken(token: string): void {
  const problem = bearerTokenProblem(token)
  if (problem !== null) throw new ConfigError('INVALID_ARGUMENT', `--token: ${problem}.`)
}

function parseUrl(text: string): URL {
  const withScheme = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`
  if (URL.canParse(withScheme)) {
    const url = new URL(withScheme.replace(/^ws(s?):/i, 'http$1:'))
    if (url.protocol === 'http:' || url.protocol === 'https:') return url
  }
  throw new ConfigError('INVALID_ARGUMENT', `--url: "${text}" is not a URL such as http://localhost:4567.`)
}
