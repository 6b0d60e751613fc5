import { expect, test } from 'vitest'
import { freePort } from '../../support/free-port.ts'
import { Workspace } from '../../support/terminal.ts'
import { serveConfig } from '../serve.ts'

async function workspaceWith(config: object) {
  const workspace = new Workspace()
  const port = await freePort()
  const all = { host: '127.0.0.1', port, store: { driver: 'memory' }, ...config }
  workspace.write('kora.config.json', JSON.stringify(all))
  return { workspace, url: `http://127.0.0.1:${port}` }
}

test('an empty --token, as a variable that is not set makes one, counts as none', async () => {
  const { workspace, url } = await workspaceWith({})
  using _ = workspace
  await using _server = await serveConfig(workspace)

  for (const flags of [[], ['--url', url], ['--url', url, '--ready']]) {
    const status = await workspace.run(['status', '--token', '', ...flags])
    expect(status).toMatchObject({ code: 0, stderr: '' })
  }
})

test('where no server is, it is said how to name one that listens elsewhere', async () => {
  const { workspace, url } = await workspaceWith({})
  using _ = workspace

  const configured = await workspace.run(['status', '--ready'])
  const named = await workspace.run(['status', '--ready', '--url', url])

  expect(configured).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('--url http://localhost:8080'),
  })
  expect(named).toMatchObject({ code: 1, stderr: expect.not.stringContaining('--url') })
})

test('a token with spaces between its words opens the server, and only as a whole', async () => {
  const adminToken = 'correct horse  battery'
  const { workspace, url } = await workspaceWith({ admin: { adminToken } })
  using _ = workspace
  await using _server = await serveConfig(workspace)

  const configured = await workspace.run(['status'])
  const given = await workspace.run(['status', '--url', url, '--token', adminToken])
  const cut = await workspace.run(['status', '--url', url, '--token', 'correct horse'])

  for (const { stdout, stderr } of [configured, given]) {
    expect(stdout).toMatch(/^total operations +0$/m)
    expect(stderr).toBe('')
  }
  expect(cut.stdout).not.toContain('total operations')
  expect(cut.stderr).toBe(
    'Only the health is shown, because the server did not give its status: This token does not open this endpoint. ' +
      'Give the admin token of the server with --token, or in KORA_ADMIN_TOKEN.\n',
  )
})
