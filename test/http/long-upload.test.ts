import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { readLongUpload } from '../../src/http/long-upload.ts'

test('an upload that falls silent is ended, with the reason for the log', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const upload = httpRequest({ port, method: 'POST', headers: { 'content-length': 10 } })
  const ended = once(upload, 'error')
  upload.write('12345')
  const [request] = await once(server, 'request')

  const read = async () => {
    for await (const _chunk of readLongUpload(request, 200));
  }

  await expect(read()).rejects.toThrow('Nothing of the upload came for 200 ms.')
  await ended
  server.close()
})
