import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { listen } from '../../src/http/listen.ts'

const host = '127.0.0.1'

test.each([
  ['with the option that moves it', '--port', 'choose another port with --port.'],
  ['without one for a program', undefined, 'choose another port.'],
])('a port that is taken is named, %s', async (_name, portOption, advice) => {
  const blocker = createServer().listen(0, host)
  await once(blocker, 'listening')
  const { port } = blocker.address() as AddressInfo

  const listening = listen(createServer(), { host, port, ...(portOption && { portOption }) })

  await expect(listening).rejects.toMatchObject({
    code: 'PORT_IN_USE',
    message: `Port ${port} on ${host} is in use by another process. Stop it, or ${advice}`,
  })
  blocker.close()
})

test('an address that the machine does not have is named', async () => {
  const absent = '192.0.2.1' // for documentation; see RFC 5737
  const listening = listen(createServer(), { host: absent, port: 0 })

  await expect(listening).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: `Cannot listen on ${absent}: this machine has no such address. Use one of its own, or 0.0.0.0 for all of them.`,
  })
})
