import type { ConfigOption, GroupOption, ValueOption } from '../../src/config/options.ts'
import { OPTIONS } from '../../src/config/options.ts'
import { markdownTable } from './markdown-table.ts'

/** `docs/configuration.md`: how a configuration is found, and every option of the table. */
export function configReference(): string {
  return `${[INTRODUCTION, ...sections(), ENVIRONMENT_HEAD, environmentTable()].join('\n\n')}\n`
}

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/options.ts by \`npm run generate\`. -->

\`kora-server\` starts without any configuration: on SQLite, in \`./kora-server.db\`, without authentication. A file
changes that. It is searched from the working directory upwards; the first of these names is taken:

- \`kora.config.ts\`, \`.mts\`, \`.js\`, \`.mjs\`, \`.cjs\`, \`.json\`, \`.yaml\`, \`.yml\`
- \`.korarc\`, with the same extensions or none (YAML or JSON), also in a folder \`.config\`
- the key \`kora\` in \`package.json\`

\`--config <file>\` names a file instead. TypeScript needs no build step and no \`typescript\`. \`defineConfig\` gives types:

\`\`\`ts
import { defineConfig } from 'kora-server'

export default defineConfig({
  port: 8080,
  store: { driver: 'sqlite', filename: './data/app.db' },
  schema: './schema.ts',
})
\`\`\`

When the file also configures the development tools of a Kora app, the options of the server stand under the key
\`server\`; a \`schema\` beside it serves the server too. Any other option of the server is of no effect there: unless
\`server\` has one of that name, it is warned of, and \`auth\`, \`admin\` and \`tls\` are mistakes. \`auth\` is only warned
of where \`KORA_AUTH_SECRET\` or \`KORA_JWKS_URL\` is set, \`admin\` where \`KORA_ADMIN_TOKEN\` is.

A file that is there and cannot be read is an error, and so is a \`.env\` beside it: a folder of that name, a link to nothing, text
that is not UTF-8. So is a configuration that says nothing: an empty file, one of comments alone, a script without a default
export (of CommonJS, without anything in \`module.exports\`). \`{}\` says that nothing is changed. The server never starts as if
the file were not there. A folder \`.env\` that holds something else is left alone, with a warning; a \`package.json\` without
the key \`kora\` without one, also in Latin-1.

JSON and YAML files get completion in editors from \`config/kora.config.schema.json\` in the package:
\`"$schema": "./node_modules/kora-server/config/kora.config.schema.json"\`.

Every key is checked before anything starts. All problems are reported at once, each with its path:

\`\`\`
kora.config.ts: 2 problems
auth.jwt.keys[0].file: jwt.pem not found
limits.maxOpPerMinute: unknown, did you mean maxOpsPerMinute?
\`\`\`

**Order.** A flag wins over an environment variable, that over a \`.env\` file beside the configuration, that over the
configuration, and that over the default. \`kora-server check --print-config\` shows every value and where it came from.
\`process.env\` of the server holds what is in that \`.env\` as well, unless the environment has it: a configuration in TypeScript
or JavaScript finds it there (\`secret: process.env.AUTH_SECRET\`), and so do its functions and the files that it names, whenever
they run.

**Paths** in the configuration, and in its \`.env\`, are relative to the configuration file; those in flags and
environment variables are relative to the working directory.

**Durations** are text with a unit (\`'500ms'\`, \`'10s'\`, \`'5m'\`, \`'2h'\`, \`'90d'\`) or a number of milliseconds.
Sizes are bytes.`

const ENVIRONMENT_HEAD = `## Environment variables

A variable that is set to nothing counts as not set. \`DATABASE_URL\` selects the PostgreSQL store, whatever the
file says, and \`KORA_DB\` the SQLite store, unless the file's \`store.driver\` names another. \`KORA_AUTH_SECRET\` and \`KORA_JWKS_URL\` take the place of the keys in the file;
without any \`auth\` in the file, the first selects the mode \`kora\` and the second the mode \`jwt\`. Setting one that the
mode in the file does not use is an error: otherwise a server could be open that its operator believes closed. \`kora-server check\` names any
other of these variables that is set and not used; it and \`start\` warn of a variable that is named much like one of them
(\`KORA_AUTH_SECERT\`), unless the file is a script that gives the option: it may have read the variable by itself.`

function sections(): string[] {
  const isTopValue = (option: ConfigOption) => 'type' in option && !option.path.includes('.')
  const groups = OPTIONS.filter(
    (option): option is GroupOption => 'group' in option && !option.path.includes('.'),
  )
  return [
    `## Basics\n\n${optionTable(OPTIONS.filter(isTopValue), '')}`,
    ...groups.map((group) => {
      const inside = OPTIONS.filter((option) => option.path.startsWith(`${group.path}.`))
      return `## \`${group.path}\`\n\n${group.help}\n\n${optionTable(inside, `${group.path}.`)}`
    }),
  ]
}

function optionTable(options: readonly ConfigOption[], prefix: string): string {
  const rows = options.map((option) =>
    'type' in option
      ? [name(option, prefix), option.type.expects, defaultText(option), option.help]
      : [name(option, prefix), option.group === 'list' ? 'a list of objects' : 'an object', '', option.help],
  )
  return markdownTable(['Key', 'Value', 'Default', 'Meaning'], rows)
}

function name(option: ConfigOption, prefix: string): string {
  const when = option.when === undefined ? '' : ` (${option.when.map((value) => `\`${value}\``).join(', ')})`
  return `\`${option.path.slice(prefix.length)}\`${when}`
}

function defaultText({ default: value, isRequired }: ValueOption): string {
  if (isRequired) return 'required'
  if (value === undefined) return ''
  return typeof value === 'string' ? `\`'${value}'\`` : `\`${JSON.stringify(value)}\``
}

function environmentTable(): string {
  const pathsByVariable = new Map<string, string[]>()
  for (const option of OPTIONS) {
    if (!('env' in option) || option.env === undefined) continue
    pathsByVariable.set(option.env, [...(pathsByVariable.get(option.env) ?? []), option.path])
  }
  const flagOf = (path: string) =>
    OPTIONS.find((option): option is ValueOption => option.path === path && 'flag' in option)?.flag
  const rows = [...pathsByVariable].map(([variable, paths]) => [
    `\`${variable}\``,
    paths.map((path) => `\`${path}\``).join(' or '),
    [...new Set(paths.map(flagOf))].map((flag) => (flag === undefined ? '' : `\`${flag}\``)).join(''),
  ])
  return markdownTable(['Variable', 'Option', 'Flag'], rows)
}
