import { TOKEN_REFUSALS } from '../../src/auth/token-verdict.ts'
import { ERROR_CODES } from '../../src/core/errors.ts'
import { REFUSAL_CODES, type RefusalCodeInfo, WRITE_REFUSAL_CODES } from '../../src/core/refusal.ts'
import { CONNECTION_ERRORS } from '../../src/protocol/connection-errors.ts'
import { markdownTable } from './markdown-table.ts'

/** docs/troubleshooting.md: what goes wrong, by what is seen, and by code. */
export function troubleshootingPage(): string {
  return `# Troubleshooting

<!-- Generated from scripts/reference/troubleshooting-page.ts and the tables of codes by \`npm run generate\`. -->

Three places tell what is wrong:

- \`kora-server check\` reads the configuration and the schema, opens the store, and lists everything that would go wrong
  at the start, or is risky. It changes nothing.
- \`kora-server status\` asks the running server. \`GET /ready\` gives the reason when it cannot do its work.
- The log, on stderr; [logs.md](logs.md) has every line. \`--log-level debug\` adds every session and every refused operation,
  and the stacks of errors.

Commands exit with 0 when they are done, with 1 when they failed at their work, and with 2 when what they were given is wrong.

## By symptom

${markdownTable(['Symptom', 'Where to look'], SYMPTOMS)}

## Errors of the server and of the commands

The \`code\` of what the library throws, and of \`err\` in the log. The command line prints the message alone.

${markdownTable(['Code', 'Meaning', 'What to do'], codeRows(ERROR_CODES))}

## Refused operations

One operation of a device was not stored; the rest of its batch was. The device keeps the change for itself. It sends the operation
again only at a handshake, as long as it has stored none that is later ([version vectors](protocol.md#version-vectors)).
*Again* is a hint for the app: where it is yes, writing the change once more may succeed.
They are counted in \`kora_operations_refused_total\`, listed on the dashboard, and logged at \`debug\`.

${markdownTable(['Code', 'Again', 'Meaning', 'What to do'], refusalRows(REFUSAL_CODES))}

## Refused writes of the application

A write through \`kora\` ([production-server.md](production-server.md#the-data-plane)) may also be refused by one of these; the
error is a \`MutationError\` with the code in \`refusal.code\`.

${markdownTable(['Code', 'Again', 'Meaning', 'What to do'], refusalRows(WRITE_REFUSAL_CODES))}

## Closed connections

Where *again* is yes, clients come back by themselves. Where it is no, they come back too, and are closed again until something
changes; but a client that polls waits until its page is loaded anew (not after \`INVALID_TIMESTAMP\`, nor where the app's own
code failed over its token), and after \`SCHEMA_MISMATCH\` a client waits for an update of its app.

${markdownTable(
  ['Code', 'Close code', 'Again', 'Meaning', 'What to do'],
  Object.entries(CONNECTION_ERRORS).map(([code, { closeCode, retriable, meaning, remedy }]) => [
    `\`${code}\``,
    String(closeCode),
    yesOrNo(retriable),
    meaning,
    remedy,
  ]),
)}

## Refused tokens

Why a token is refused, as the log says in \`token refused\` (\`reason\`) and \`kora-server token inspect\` prints. Clients are told
\`AUTH_FAILED\` and no more; or \`AUTH_UNAVAILABLE\`, where the token could not be judged: by \`KEYS_UNAVAILABLE\` and
\`KEY_UNCONFIRMED\`.

${markdownTable(
  ['Reason', 'Meaning'],
  Object.entries(TOKEN_REFUSALS).map(([reason, meaning]) => [`\`${reason}\``, meaning]),
)}
`
}

const SYMPTOMS: readonly (readonly [string, string])[] = [
  ['The server does not start', '`kora-server check`: it lists every reason at once, not only the first'],
  [
    'A client connects, and is closed at once',
    'the close code, [below](#closed-connections); `kora-server token inspect <jwt>` for its token',
  ],
  [
    'A client connects, and sees nothing',
    '`kora-server token inspect <jwt>`: it prints the scopes. A collection that `auth.scopes` does not list is hidden, and so is one whose claim the token lacks',
  ],
  [
    'A change stays on one device',
    'the dashboard, under *Refusals*, or the log at `debug`: the operation was refused by name, see [below](#refused-operations)',
  ],
  [
    'Who changed a record, and when',
    '`kora-server log --record <id>`, or the history of the record on the dashboard',
  ],
  [
    '`kora-server query` says that there are no tables',
    'the server needs the schema: `schema` in the configuration, then `kora-server migrate`, or a start',
  ],
  [
    '`/ready` answers 503',
    'the `reason` in its body. The server goes on by itself when the cause is gone; a restart does not help',
  ],
  [
    'All clients count as one address',
    '`http.trustProxy`: name the proxy, so that its `X-Forwarded-For` is believed',
  ],
  [
    'Connections break after a minute without changes',
    'the proxy: let it keep idle connections longer than a minute, see [production-server.md](production-server.md#behind-a-proxy)',
  ],
  [
    'Changes of a polling client stay on it, and it is answered 413',
    'the proxy: by default nginx takes no body above 1 MB; set `client_max_body_size 0`, see [production-server.md](production-server.md#behind-a-proxy)',
  ],
  [
    'With many clients, connections are closed as soon as they are made, `/health` too, and the log is silent',
    'the limit of open files: each connection takes one. Compare `process_open_fds` with `process_max_fds` in the metrics, and raise the limit (`LimitNOFILE` of systemd, `ulimits` of Docker)',
  ],
  [
    'Polling clients start over again and again',
    'a load balancer that sends their requests to changing servers, see [scaling.md](scaling.md)',
  ],
  [
    'No backup appears',
    '`backup failed` in the log: its `err` says why, and it is tried again each minute. Nothing there: an empty log is not backed up, and is looked at again within the hour',
  ],
  [
    'A container cannot write to `/data`',
    'the owner of the mounted folder: the server runs as user 1000 (`chown 1000:1000`)',
  ],
  [
    'The dashboard asks for a token, or is not there',
    'set `admin.adminToken` (or `KORA_ADMIN_TOKEN`); with `admin.port` it is on that port alone',
  ],
]

function codeRows(codes: { readonly [code: string]: { readonly meaning: string; readonly remedy: string } }) {
  return Object.entries(codes).map(([code, { meaning, remedy }]) => [`\`${code}\``, meaning, remedy])
}

function refusalRows(codes: { readonly [code: string]: RefusalCodeInfo }) {
  return Object.entries(codes).map(([code, { retriable, meaning, remedy }]) => [
    `\`${code}\``,
    yesOrNo(retriable),
    meaning,
    remedy,
  ])
}

function yesOrNo(value: boolean): string {
  return value ? 'yes' : 'no'
}
