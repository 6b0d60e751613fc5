import type { Command } from 'commander'
import type { CommandContext } from '../../src/cli/command-context.ts'
import { createProgram } from '../../src/cli/program.ts'
import type { Output, Terminal } from '../../src/cli/terminal.ts'

/** `docs/cli.md`: every command with its help, as `--help` prints it. */
export async function cliReference(): Promise<string> {
  const program = await createProgram(contextOfNobody())
  return `${[INTRODUCTION, ...program.commands.flatMap((command) => sections(command))].join('\n\n')}\n`
}

const INTRODUCTION = `# Command line

<!-- Generated from src/cli by \`npm run generate\`. -->

\`\`\`
kora-server <command> [options]
\`\`\`

**Output.** Data goes to stdout, everything else (banner, progress, notes, log, errors) to stderr. Colours, tables
and progress bars appear on a terminal only; \`NO_COLOR\` turns the colours off. The log of \`start\` is text on a
terminal and JSON lines elsewhere. A table fits the terminal; elsewhere, where \`--format table\` asks for it, it is whole.

**Exit codes.**

| Code | Meaning |
| --- | --- |
| 0 | done; for \`start\`: drained and stopped after a first SIGINT or SIGTERM |
| 1 | failed at its work: the port is taken, the database does not open, the disk is full, \`--id\` found no record, a token would be refused |
| 2 | the input is wrong: arguments, configuration, schema, an unknown collection or field |
| 130, 143 | ended at once by SIGINT or SIGTERM |

An error is one short message. \`--log-level debug\` adds the stack.

**Configuration.** Flags win over environment variables, these over the configuration file; see
[configuration.md](configuration.md).`

/** A command and, below it, its own commands. */
function sections(command: Command, parentName = ''): string[] {
  const name = `${parentName}${command.name()}`
  const help: string[] = []
  // What is added after the help (the examples) goes through the same output as the help itself.
  command.configureOutput({ writeOut: (text) => help.push(text), getOutHelpWidth: () => 100 })
  command.outputHelp()
  const text = `## ${name}\n\n\`\`\`text\n${help.join('').trim()}\n\`\`\``
  return [text, ...command.commands.flatMap((inner) => sections(inner, `${name} `))]
}

/** The definitions need a context; nothing of it is used before a command runs. */
export function contextOfNobody(): CommandContext {
  const output: Pick<Output, 'isTerminal' | 'columns'> = { isTerminal: false, columns: 100 }
  return {
    terminal: { stdout: output, stderr: output, env: {} } as Terminal,
    processEvents: {
      onSignal: () => () => {},
      yieldSignals: () => {},
      onUncaught: () => () => {},
      exitNow: () => {},
    },
    printHelp() {},
    setExitCode() {},
  }
}
