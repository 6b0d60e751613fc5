import { type Command, Option } from 'commander'
import { loadConfig } from '../config/load-config.ts'
import { configFlags } from '../config/options.ts'
import { type ConfigFlags, type EffectiveConfig, LOG_LEVELS } from '../config/server-config.ts'
import type { Terminal } from './terminal.ts'

/** Values of the flags that override the configuration, and of `--config`, as commander gives them. */
export interface ConfigOptionValues extends ConfigFlags {
  readonly config?: string
}

/**
 * Adds `--config`, `--log-level`, and those flags of the options table that concern the command.
 *
 * @param names without dashes: `port`, `db`
 * @param configHelp the meaning of `--config` for a command that reads no configuration
 */
export function addConfigOptions(
  command: Command,
  names: readonly string[],
  configHelp = 'configuration file (default: kora.config.*, searched upwards)',
): void {
  const options = configFlags().map(({ flag, help }) => new Option(flag, help))
  for (const option of options) if (names.includes(option.name())) command.addOption(option)
  command.option('-c, --config <file>', configHelp)
  for (const option of options) {
    if (option.name() === 'log-level') command.addOption(option.choices(LOG_LEVELS))
  }
}

/** The effective configuration for a command: its flags, the environment, the file, the defaults. */
export function loadCommandConfig(options: ConfigOptionValues, terminal: Terminal): Promise<EffectiveConfig> {
  const { config, host, port, path, store, db, schema, logLevel } = options
  return loadConfig({
    cwd: terminal.cwd,
    env: terminal.env,
    ...(config === undefined ? {} : { configFile: config }),
    flags: definedOnly({ host, port, path, store, db, schema, logLevel }),
  })
}

/** Removes flags that were not given, because absent and undefined mean different things to the configuration. */
function definedOnly(flags: { readonly [Name in keyof ConfigFlags]: string | undefined }): ConfigFlags {
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
}
