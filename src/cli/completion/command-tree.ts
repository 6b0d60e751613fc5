import type { Command, Option } from 'commander'

/** The definition of a command for the shells, taken from commander. */
export interface CompletedCommand {
  /** Its words after the program's name: `['token', 'inspect']`; none for the program itself. */
  readonly words: readonly string[]
  readonly subcommands: readonly { readonly name: string; readonly summary: string }[]
  readonly options: readonly CompletedOption[]
  /** Values of its first argument, if there is a fixed set. */
  readonly argumentChoices: readonly string[]
}

export interface CompletedOption {
  /** `--format`, `-f` */
  readonly flags: readonly string[]
  readonly description: string
  /** The values that it takes: a fixed list, files, or anything. null: none. */
  readonly value: readonly string[] | 'file' | 'any' | null
}

/** The program and its commands, each followed by its own. */
export function completedCommands(program: Command): CompletedCommand[] {
  return collect(program, [])
}

function collect(command: Command, words: readonly string[]): CompletedCommand[] {
  const subcommands = command.commands.map((inner) => ({
    name: inner.name(),
    summary: inner.summary() || firstSentence(inner.description()),
  }))
  const help: CompletedOption = { flags: ['-h', '--help'], description: 'print this help', value: null }
  const own: CompletedCommand = {
    words,
    subcommands,
    options: [...command.options.filter((option) => !option.hidden).map(toCompleted), help],
    argumentChoices: [...(command.registeredArguments[0]?.argChoices ?? [])],
  }
  return [own, ...command.commands.flatMap((inner) => collect(inner, [...words, inner.name()]))]
}

function toCompleted(option: Option): CompletedOption {
  const flags = [option.short, option.long].filter((flag): flag is string => flag !== undefined)
  return { flags, description: firstSentence(option.description), value: completedValueOf(option) }
}

function completedValueOf({ required, optional, argChoices, flags }: Option): CompletedOption['value'] {
  if (!required && !optional) return null
  if (argChoices !== undefined) return argChoices
  return /<(file|directory)/.test(flags) ? 'file' : 'any'
}

function firstSentence(text: string): string {
  return text.split(/\. |\(|;/)[0]?.trim() ?? ''
}
