import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeBlob } from '../support/blobs.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, openDevice } from '../support/device.ts'

const CONFIG = `
import { defineConfig } from 'kora-server'

export default defineConfig({ blobs: { driver: 'filesystem', directory: './blobs' } })
`

let daemon: Daemon

beforeAll(async () => {
  daemon = await startDaemon({ files: { 'kora.config.ts': CONFIG } })
})

afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
})

test('two devices that both call themselves 1 see each other come, move and leave', async () => {
  await using phone = await openDevice({ url: daemon.url, name: 'phone' })
  await using laptop = await openDevice({ url: daemon.url, name: 'laptop' })
  const names = (device: Device) => [...device.peers.values()].map(({ user }) => user.name)
  const recordId = phone.insert('todos', { title: 'together' })
  await phone.synced()

  phone.setPresence({ user: { name: 'Ada', color: '#e11d48' } })
  laptop.setPresence({ user: { name: 'Bob', color: '#2563eb' } })
  await laptop.until(() => names(laptop).includes('Ada'), 'Ada is there')
  await phone.until(() => names(phone).includes('Bob'), 'Bob is there')
  const cursor = { collection: 'todos', recordId, field: 'title', anchor: 2, head: 5 }
  phone.setPresence({ user: { name: 'Ada', color: '#e11d48' }, cursor })
  await laptop.until(() => [...laptop.peers.values()][0]?.cursor?.head === 5, 'her cursor is there')
  phone.goOffline(true)
  await laptop.until(() => laptop.peers.size === 0, 'Ada is gone')

  expect(names(phone)).toEqual(['Bob'])
})

test('a file outlives its author and a restart of the server', async () => {
  const blob = makeBlob('a photo, cut into chunks of four bytes')
  {
    await using author = await openDevice({ url: daemon.url, name: 'author' })
    author.insert('photos', { file: blob.ref })
    await author.synced()
    for (const { hash, bytes } of [...blob.chunks, blob.manifest]) {
      author.send({
        type: 'blob-chunk-push',
        messageId: author.nextMessageId(),
        hash,
        bytes: bytes.toString('base64'),
      })
    }
    const { hash } = blob.manifest
    const file = join(daemon.directory, 'blobs', hash.slice(0, 2), hash.slice(2, 4), hash)
    await expect.poll(() => existsSync(file), { timeout: 10_000 }).toBe(true)
  }
  await daemon.restart()

  await using reader = await openDevice({ url: daemon.url, name: 'reader' })
  const parts = [blob.manifest, ...blob.chunks]
  for (const [index, { hash }] of parts.entries()) {
    reader.send({
      type: 'blob-chunk-request',
      messageId: reader.nextMessageId(),
      requestId: `q${index}`,
      hash,
    })
  }
  const answers = () => reader.messages.filter((message) => message.type === 'blob-chunk-response')
  await reader.until(() => answers().length === parts.length, 'all parts are here')

  expect(new Map(answers().map(({ requestId, bytes }) => [requestId, bytes]))).toEqual(
    new Map(parts.map(({ bytes }, index) => [`q${index}`, bytes.toString('base64')])),
  )
})
