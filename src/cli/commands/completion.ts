import { Argument, type Command } from 'commander'
import type { CommandContext } from '../command-context.ts'
import { completedCommands } from '../completion/command-tree.ts'
import { completionScript, SHELLS, type Shell } from '../completion/scripts.ts'
import { addConfigOptions } from '../config-options.ts'

/** `kora-server completion <shell>`: prints the shell's completion script. */
export function addCompletionCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command('completion')
    .summary('print the completion script of a shell')
    .description('Prints a script that teaches the shell to complete commands, flags and their values.')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
  addConfigOptions(command, [], 'taken as by every command; this one reads none')
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server completion bash >> ~/.bashrc
  $ kora-server completion zsh > "\${fpath[1]}/_kora-server"
  $ kora-server completion fish > ~/.config/fish/completions/kora-server.fish`,
    )
    .action((shell: Shell) => terminal.stdout.write(completionScript(shell, completedCommands(program))))
}
