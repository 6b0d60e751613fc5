import { LOG_EVENTS, type LogEvent } from '../../src/core/log-events.ts'
import { markdownTable } from './markdown-table.ts'

/** docs/logs.md, from the table of what the server logs. */
export function logReference(): string {
  return `${HEAD}\n${SECTIONS.map(({ level, title }) => section(level, title)).join('\n')}`
}

const HEAD = `<!-- Generated from src/core/log-events.ts by \`npm run generate\`. -->

# Log

What the server writes to stderr: one JSON object per line, or on a terminal one line of text ([\`log\`](configuration.md#log)).
Messages never change, so that they can be searched and counted; what differs stands in the fields beside them.

\`\`\`json
{"level":"info","time":"2026-03-01T03:00:02.114Z","file":"/backups/kora-2026-03-01T03-00-00Z.backup","operations":18231,"bytes":4194304,"durationMs":2113,"msg":"backup written"}
\`\`\`

| Field | What it is |
| --- | --- |
| \`sessionId\` | one connection: all lines with it belong together |
| \`nodeId\`, \`userId\` | the device, and who has signed in on it |
| \`code\`, \`detail\` | one of the codes of [troubleshooting.md](troubleshooting.md), and the message that goes with it |
| \`err\` | an error: \`type\`, \`code\`, \`message\`, \`stack\` and \`cause\`. Passwords and tokens show as \`***\` |
| \`…Ms\` | milliseconds |

The level is a setting: \`log.level\`, \`KORA_LOG_LEVEL\` or \`--log-level\`.
`

const SECTIONS: readonly { readonly level: LogEvent['level']; readonly title: string }[] = [
  { level: 'error', title: 'Errors: somebody has to act' },
  { level: 'warn', title: 'Warnings: served, but not as promised' },
  { level: 'info', title: 'Information: what the server does' },
  { level: 'debug', title: 'Debug: each session' },
  { level: 'trace', title: 'Trace: each commit' },
]

function section(level: LogEvent['level'], title: string): string {
  const events: readonly LogEvent[] = Object.values(LOG_EVENTS).filter((event) => event.level === level)
  const hasAdvice = events.some(({ advice }) => advice !== undefined)
  const head = ['Message', 'Fields', ...(hasAdvice ? ['What to do'] : [])]
  const rows = events.map(({ message, fields, advice }) => [
    message,
    fields.map((field) => `\`${field}\``).join(', '),
    ...(hasAdvice ? [advice ?? ''] : []),
  ])
  return `## ${title}\n\n${markdownTable(head, rows)}\n`
}
