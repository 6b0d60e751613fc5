import { type Command, InvalidArgumentError, Option } from 'commander'
import { SignJWT } from 'jose'
import { explainToken } from '../../auth/explaining-provider.ts'
import { formatDuration, parseDuration } from '../../config/duration.ts'
import type { ServerConfig } from '../../config/server-config.ts'
import { silentLogger } from '../../core/logger.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import { openAuthProvider } from '../auth-provider.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { collectValues } from '../option-parsers.ts'
import { EXIT_FAILED } from '../output/errors.ts'
import { escapeControls } from '../output/escape-controls.ts'
import { type ReportFormat, reportFormatOption, toJsonText } from '../output/report-format.ts'
import { parseClaims, standardClaims } from '../token/claims.ts'
import { findSigningKey } from '../token/signing-key.ts'
import { describeVerdict } from '../token/verdict-report.ts'

const HOUR_MS = 3_600_000

interface SignFlags extends ConfigOptionValues {
  readonly sub: string
  readonly claim?: readonly string[]
  /** ms */
  readonly expires: number
}

/** `kora-server token`: signs development tokens and explains any token. */
export function addTokenCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('token')
    .summary('sign a development token, or inspect one')
    .description('Signs a JWT with the configured key, for development and tests, and prints it.')
    .option('--sub <user>', 'id of the user', parseSubject, 'dev-user')
    .option(
      '--claim <name=value>',
      'add a claim (repeatable); name:=JSON for other values than text',
      collectValues,
    )
    .addOption(
      new Option('--expires <duration>', 'how long it is valid: 90s, 15m, 1h, 7d')
        .argParser(parseLifetime)
        .default(HOUR_MS, '1h'),
    )
  addConfigOptions(command, [])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server token --sub user-1 --claim org=acme --claim 'roles:=["admin"]' --expires 8h
  $ kora-server token inspect eyJhbGciOi…`,
    )
    .action((flags: SignFlags) => signToken(flags, context))
  const inspect = command
    .command('inspect')
    .summary('say how the server would treat a token')
    .description(
      'Says whether the configuration accepts the token, as which user, and which scopes it gives. Asks no database: ' +
        'whether the token is revoked, which the server would look at too, it does not say.',
    )
    .argument('<jwt>', 'the token')
    .addOption(reportFormatOption())
  addConfigOptions(inspect, ['schema'])
  inspect
    .addHelpText(
      'after',
      '\nExample:\n  $ kora-server token inspect "$TOKEN"\n\nExit code 1 when it would be refused.',
    )
    .action((jwt: string, _flags: unknown, self: Command) =>
      inspectToken(jwt, self.optsWithGlobals(), context),
    )
}

async function signToken(flags: SignFlags, { terminal }: CommandContext): Promise<void> {
  const { values: config } = await loadCommandConfig(flags, terminal)
  const { key, alg, kid } = findSigningKey(config.auth)
  const issuedAt = Math.floor(terminal.now() / 1000)
  const runtime = systemRuntime()
  const token = await new SignJWT({
    ...standardClaims(config.auth, flags.sub, () => runtime.uuid()),
    iat: issuedAt,
    exp: issuedAt + Math.ceil(flags.expires / 1000),
    ...parseClaims(flags.claim ?? []),
  })
    .setProtectedHeader({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) })
    .sign(key)
  await terminal.stdout.write(`${token}\n`)
  await terminal.stderr.write(
    `Signed with ${alg} for user ${escapeControls(flags.sub)}, valid for ${formatDuration(flags.expires)}.\n`,
  )
}

interface InspectFlags extends ConfigOptionValues {
  readonly format: ReportFormat
}

async function inspectToken(jwt: string, flags: InspectFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const { values: config } = await loadCommandConfig(flags, terminal)
  const provider = await openAuthProvider(config.auth, silentLogger)
  const verdict = await explainToken(provider, jwt.trim())
  if (!verdict.isAccepted) context.setExitCode(EXIT_FAILED)
  else if (config.auth.mode !== 'none') await terminal.stderr.write(NOT_ASKED)
  if (flags.format === 'json') return terminal.stdout.write(toJsonText(verdict))
  const lines = [
    ...(config.auth.mode === 'none'
      ? ['auth.mode is "none": every token is accepted and none is looked at']
      : []),
    ...describeVerdict(verdict, collectionsOf(config), terminal.now()),
  ]
  await terminal.stdout.write(`${lines.map(escapeControls).join('\n')}\n`)
}

const NOT_ASKED = 'Not looked at: whether it is revoked. See: kora-server revoke --list\n'

function collectionsOf(config: ServerConfig): readonly string[] | null {
  return config.schema === null ? null : Object.keys(config.schema.definition.collections)
}

function parseSubject(text: string): string {
  if (text.trim() !== '') return text
  throw new InvalidArgumentError('Write the id of a user: a token without one is refused.')
}

function parseLifetime(text: string): number {
  const lifetimeMs = parseDuration(text)
  if (lifetimeMs !== null && lifetimeMs > 0) return lifetimeMs
  throw new InvalidArgumentError('Write a duration such as 90s, 15m, 1h or 7d.')
}
