import type { Command } from 'commander'
import type { EffectiveConfig, ServerConfig } from '../../config/server-config.ts'
import { maskSecrets } from '../../core/mask-secrets.ts'
import { probeBackups } from '../check/backup-probe.ts'
import { probeDamage } from '../check/damage.ts'
import { type Finding, ok, warning } from '../check/finding.ts'
import {
  probeAuth,
  probeBlobs,
  probePorts,
  probeStaticFiles,
  probeStore,
  probeTls,
  summarize,
} from '../check/probes.ts'
import { findRiskySettings, noteUnused } from '../check/settings.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { describeSchema } from '../describe-config.ts'
import { createColours } from '../output/colours.ts'
import { escapeControls } from '../output/escape-controls.ts'
import { printConfig } from '../output/print-config.ts'
import { type ReportFormat, reportFormatOption, toJsonText } from '../output/report-format.ts'
import type { Terminal } from '../terminal.ts'

interface CheckFlags extends ConfigOptionValues {
  readonly printConfig?: boolean
  readonly deep?: boolean
  readonly format: ReportFormat
}

/** `kora-server check`: says whether the server would start, and points out risks. */
export function addCheckCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('check')
    .summary('say whether the server would start, and what is risky')
    .description(
      'Checks configuration, schema, store, keys, folders and port without changing anything, beside a running ' +
        'server too. Exit code 1 when the server would not start, 2 when the configuration is wrong. With --deep ' +
        'it reads all that is stored instead, and names what is damaged: exit code 1 when something is.',
    )
    .option('--print-config', 'print every option with its value and where that came from')
    .option('--deep', 'read the whole store: checksums and ids, tables and records against the log')
    .addOption(reportFormatOption())
  addConfigOptions(command, ['port', 'host', 'path', 'store', 'db', 'schema'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server check
  $ kora-server check --config production.config.ts --print-config
  $ kora-server check --deep --db kora-server.db`,
    )
    .action((flags: CheckFlags) => check(flags, context))
}

async function check(flags: CheckFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const config = await loadCommandConfig(flags, terminal)
  const isJson = flags.format === 'json'
  const { values } = config
  const findings =
    flags.deep === true ? await probeDamage(values, terminal) : await probeAll(config, terminal)
  // Set before printing, because the reader of the output may leave at any line, and the exit code has to be right
  // all the same.
  context.setExitCode(Math.max(...findings.map((finding) => finding.exitCode)))
  if (flags.printConfig && !isJson) await printConfig(config, terminal)
  if (isJson) await printJson(findings, flags.printConfig ? config.entries : null, terminal)
  else await printFindings(findings, terminal)
}

async function probeAll(config: EffectiveConfig, { cwd }: Terminal): Promise<Finding[]> {
  const { values } = config
  return [
    ...schemaFindings(values, cwd),
    ...(await probeStore(values, cwd)),
    ...(await probeAuth(values)),
    ...probeTls(values),
    ...probeStaticFiles(values),
    ...(await probePorts(values)),
    ...(await probeBlobs(values)),
    ...(await probeBackups(values)),
    ...noteUnused(config),
    ...config.doubts.map(({ subject, message }) => warning(subject, message)),
    ...findRiskySettings(values),
  ]
}

async function printJson(
  findings: readonly Finding[],
  config: EffectiveConfig['entries'] | null,
  { stdout }: Terminal,
): Promise<void> {
  const shown = findings.map(({ severity, subject, message }) => ({
    severity,
    subject,
    message: maskSecrets(message),
  }))
  await stdout.write(toJsonText({ findings: shown, ...(config !== null && { config }) }))
}

/** The finding for the schema, which loading the configuration has already validated. */
function schemaFindings({ schema }: ServerConfig, cwd: string): Finding[] {
  return schema === null ? [] : [ok('schema', `${describeSchema(schema, cwd)}.`)]
}

async function printFindings(findings: readonly Finding[], { stdout, env }: Terminal): Promise<void> {
  const colours = createColours(stdout, env)
  const paint = { error: colours.red, warning: colours.yellow, ok: colours.green }
  const width = Math.max(...findings.map(({ subject }) => subject.length))
  for (const { severity, subject, message } of findings) {
    const indent = ' '.repeat('warning'.length + width + 4)
    const lines = maskSecrets(message).split('\n').map(escapeControls).join(`\n${indent}`)
    await stdout.write(
      `${paint[severity](severity.padEnd('warning'.length))}  ${subject.padEnd(width)}  ${lines}\n`,
    )
  }
  await stdout.write(`\n${summarize(findings)}.\n`)
}
