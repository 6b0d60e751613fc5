import { assertNever } from '../../core/errors.ts'
import type { CompletedCommand, CompletedOption } from './command-tree.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

const PROGRAM = 'kora-server'

/** A script that adds completion to the shell. At completion time it runs no program. */
export function completionScript(shell: Shell, commands: readonly CompletedCommand[]): string {
  switch (shell) {
    case 'bash':
      return bashScript(commands)
    case 'zsh':
      return zshScript(commands)
    case 'fish':
      return fishScript(commands)
    default:
      return assertNever(shell)
  }
}

// ── bash ─────────────────────────────────────────────────────────────────────────────────────

function bashScript(commands: readonly CompletedCommand[]): string {
  return `# bash completion for ${PROGRAM}
_kora_server() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" path="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $word" in
${commands
  .filter(({ words }) => words.length > 0)
  .map(({ words }) => `      ${quote(` ${words.join(' ')}`)}) path=${quote(` ${words.join(' ')}`)} ;;`)
  .join('\n')}
    esac
  done
  case "$path $prev" in
${commands.flatMap((command) => bashValues(command)).join('\n')}
  esac
  case "$path" in
${commands.map((command) => `    ${quote(pathOf(command))}) COMPREPLY=( $(compgen -W ${quote(wordsOf(command).join(' '))} -- "$cur") ) ;;`).join('\n')}
  esac
}
complete -o default -F _kora_server ${PROGRAM}
`
}

function bashValues(command: CompletedCommand): string[] {
  return command.options.flatMap(({ flags, value }) => {
    if (value === null) return []
    const patterns = flags.map((flag) => quote(`${pathOf(command)} ${flag}`)).join('|')
    const reply =
      typeof value === 'string'
        ? 'COMPREPLY=()'
        : `COMPREPLY=( $(compgen -W ${quote(value.join(' '))} -- "$cur") )`
    return [`    ${patterns}) ${reply}; return ;;`]
  })
}

function pathOf({ words }: CompletedCommand): string {
  return words.map((word) => ` ${word}`).join('')
}

function wordsOf({ subcommands, options, argumentChoices }: CompletedCommand): string[] {
  return [
    ...subcommands.map(({ name }) => name),
    ...argumentChoices,
    ...options.flatMap(({ flags }) => flags),
  ]
}

// ── zsh ──────────────────────────────────────────────────────────────────────────────────────

function zshScript(commands: readonly CompletedCommand[]): string {
  return `#compdef ${PROGRAM}
${commands.map((command) => zshFunction(command)).join('\n')}
if [ "$funcstack[1]" = _kora_server ]; then
  _kora_server "$@"
else
  compdef _kora_server ${PROGRAM}
fi
`
}

function zshFunction(command: CompletedCommand): string {
  const { words, subcommands, options, argumentChoices } = command
  const specs = options.map((option) => `    ${zshOption(option)}`)
  if (argumentChoices.length > 0) specs.push(`    ${quote(`1: :(${argumentChoices.join(' ')})`)}`)
  if (subcommands.length === 0) {
    return `${functionName(words)}() {\n  _arguments -s \\\n${[...specs, "    '*: :_files'"].join(' \\\n')}\n}`
  }
  const described = subcommands.map(
    ({ name, summary }) => `      ${quote(`${name}:${summary.replaceAll(':', '\\:')}`)}`,
  )
  const cases = subcommands.map(({ name }) => `      ${name}) ${functionName([...words, name])} ;;`)
  return `${functionName(words)}() {
  local state line
  _arguments -C -s \\
${[...specs, "    '1: :->command'", "    '*:: :->rest'"].join(' \\\n')}
  case $state in
  command)
    local -a commands=(
${described.join('\n')}
    )
    _describe command commands
    ;;
  rest)
    case $line[1] in
${cases.join('\n')}
    esac
    ;;
  esac
}`
}

function zshOption({ flags, description, value }: CompletedOption): string {
  const text = `[${description.replace(/[[\]]/g, '\\$&')}]`
  const argument =
    value === null
      ? ''
      : value === 'file'
        ? ': :_files'
        : value === 'any'
          ? ': : '
          : `: :(${value.join(' ')})`
  if (flags.length === 1) return quote(`${flags[0]}${text}${argument}`)
  return `${quote(`(${flags.join(' ')})`)}{${flags.join(',')}}${quote(`${text}${argument}`)}`
}

function functionName(words: readonly string[]): string {
  return ['_kora_server', ...words].join('_')
}

// ── fish ─────────────────────────────────────────────────────────────────────────────────────

function fishScript(commands: readonly CompletedCommand[]): string {
  const lines = commands.flatMap((command) => fishLines(command))
  return `# fish completion for ${PROGRAM}\n${lines.join('\n')}\n`
}

function fishLines(command: CompletedCommand): string[] {
  const condition = fishCondition(command)
  const start = `complete -c ${PROGRAM} -n ${quote(condition)}`
  const names = command.subcommands.map(
    ({ name, summary }) => `${start} -f -a ${quote(name)} -d ${quote(summary)}`,
  )
  const choices = command.argumentChoices.map((choice) => `${start} -f -a ${quote(choice)}`)
  const options = command.options.map((option) => `${start} ${fishOption(option)}`)
  return [...names, ...choices, ...options]
}

function fishCondition({ words, subcommands }: CompletedCommand): string {
  const seen = words.map((word) => `__fish_seen_subcommand_from ${word}`)
  const unseen = subcommands.map(({ name }) => name).join(' ')
  if (words.length === 0) return '__fish_use_subcommand'
  return [...seen, ...(unseen === '' ? [] : [`not __fish_seen_subcommand_from ${unseen}`])].join('; and ')
}

function fishOption({ flags, description, value }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`))
  const argument =
    value === null
      ? ''
      : value === 'file'
        ? ' -r -F'
        : value === 'any'
          ? ' -x'
          : ` -x -a ${quote(value.join(' '))}`
  return `${names.join(' ')}${argument} -d ${quote(description)}`
}

/**
 * Quotes text for all three shells: single quotes are literal, and one inside the text ends them, is escaped, and
 * reopens them.
 */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
