import { expect, test } from 'vitest'
import { renderStatus } from '../../../src/cli/status/render-status.ts'
import type { Terminal } from '../../../src/cli/terminal.ts'

const terminal = { stdout: { isTerminal: false, columns: 80 }, env: {} } as unknown as Terminal

function render(details: { readonly [name: string]: unknown }): string {
  return renderStatus(
    {
      isReached: true,
      isListening: true,
      isHealthy: true,
      isTokenRefused: false,
      problem: null,
      details,
      notes: [],
    },
    terminal,
  )
}

test('lists the servers that share the database, and marks the one that was asked', () => {
  const servers = [
    { id: 'server-a', isThis: false, schemaVersion: 1, seenAt: 1 },
    { id: 'server-b', isThis: true, schemaVersion: 2, seenAt: 2 },
  ]

  expect(render({ port: 4567, servers })).toBe(
    'status   ready\nport     4567\nservers  server-a, server-b (this one)\n',
  )
})

test('prints whatever a server of another release may say', () => {
  expect(render({ servers: [null, 'x'], novelty: { a: 1 } })).toContain('novelty  {"a":1}')
})
