import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { RecordAnswer } from '../../../src/http/dashboard/api-types.ts'
import { startProductionServer } from '../../support/production-server.ts'

const TOKEN = 'admin-token'

const schema = defineSchema({
  version: 1,
  collections: {
    accounts: {
      fields: {
        keys: t.array(t.secret()),
        device: t.object({
          name: t.string(),
          codes: t.array(t.secret()),
          lock: t.object({ pin: t.secret() }),
        }),
      },
    },
  },
})

test('a secret is masked wherever it stands in a record', async () => {
  await using server = await start()
  await server.kora.apply({
    collection: 'accounts',
    type: 'insert',
    id: 'a',
    data: {
      keys: ['canary'],
      device: { name: 'phone', codes: ['canary', 'canary'], lock: { pin: 'canary' } },
    },
  })

  const response = await ask(server.url, 'record?collection=accounts&id=a')
  const { record, operations } = (await response.json()) as RecordAnswer

  expect(record?.values).toEqual({
    keys: { kind: 'secret', text: '***' },
    device: { kind: 'json', text: '{"codes":"***","lock":{"pin":"***"},"name":"phone"}' },
  })
  expect(JSON.stringify(operations)).not.toContain('canary')
})

test.each(['keys', 'device'])('what holds a secret cannot be guessed by a filter: %s', async (field) => {
  await using server = await start()

  const where = encodeURIComponent(JSON.stringify({ [field]: ['canary'] }))
  const response = await ask(server.url, `records?collection=accounts&where=${where}`)

  expect(response.status).toBe(400)
  expect(((await response.json()) as { error: string }).error).toContain(
    `"${field}" is a secret or holds one`,
  )
})

function start() {
  return startProductionServer({ schema, operationalAuth: { adminToken: TOKEN } })
}

function ask(url: string, path: string): Promise<Response> {
  return fetch(`${url}/__kora/api/${path}`, { headers: { authorization: `Bearer ${TOKEN}` } })
}
