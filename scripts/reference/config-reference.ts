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

When the file also configures the development tools of a Kora app, put the options of the server under the key
\`server\`. A \`schema\` beside it serves the server too. Any other option of the server has no effect there: unless
\`server\` has one of the same name, the server warns of it, and refuses \`auth\`, \`admin\` and \`tls\`. It only warns of
\`auth\` if \`KORA_AUTH_SECRET\` or \`KORA_JWKS_URL\` is set, and of \`admin\` if \`KORA_ADMIN_TOKEN\` is.

A file that exists but cannot be read is an error: a folder of that name, a link to nothing, text that is not UTF-8. The same
goes for a \`.env\` beside it, but a folder \`.env\` with something in it is left alone, with a warning. A \`package.json\`
without the key \`kora\` is left alone without a warning, also in Latin-1. A configuration that says nothing is an error, too:
an empty file, a file of comments alone, a script without a default export (in CommonJS, without anything in
\`module.exports\`). \`{}\` is one that changes nothing. The server never starts as if the file were not there.

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
\`process.env\` of the server also holds the variables of that \`.env\` that the environment lacks. A configuration in
TypeScript or JavaScript finds them there (\`secret: process.env.AUTH_SECRET\`), and so do its functions and the files that it
names, whenever they run.

**Paths** in the configuration, and in its \`.env\`, are relative to the configuration file; those in flags and
environment variables are relative to the working directory.

**Durations** are text with a unit (\`'500ms'\`, \`'10s'\`, \`'5m'\`, \`'2h'\`, \`'90d'\`) or a number of milliseconds.
Sizes are bytes.`

const ENVIRONMENT_HEAD = `## Environment variables

A variable that is empty counts as not set. \`DATABASE_URL\` selects the PostgreSQL store, whatever the file says, and
\`KORA_DB\` the SQLite store, unless the file's \`store.driver\` names another. \`KORA_AUTH_SECRET\` and \`KORA_JWKS_URL\` take
the place of the keys in the file. Without any \`auth\` in the file, the first selects the mode \`kora\` and the second the mode
\`jwt\`. Setting one that the mode in the file does not use is an error: otherwise a server could be open that its operator
believes closed. \`kora-server check\` names any other of these variables that is set and not used. It and \`start\` also warn
of a variable with a name much like one of these (\`KORA_AUTH_SECERT\`), unless the file is a script that sets the option:
the script may have read the variable itself.`

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
