import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startProductionServer } from '../support/production-server.ts'

const page = readFileSync(new URL('../../docs/production-server.md', import.meta.url), 'utf8')

test('the route of docs/production-server.md does what the page says', async () => {
  const code = /httpRoutes: (\[[\s\S]*?\n {2}\]),\n/.exec(page)?.[1] ?? ''
  const routes = new Function(`return ${code.replace(/ as \{[^}]*\}/, '')}`)()
  await using server = await startProductionServer({ httpRoutes: routes })
  const { id: order } = await server.kora.apply({
    collection: 'orders',
    type: 'insert',
    data: { title: 'tea' },
  })
  const pay = (event: string) =>
    fetch(`${server.url}/api/payments`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ order, event }),
    })

  const statuses = []
  for (const event of ['e1', 'e1', 'e2']) statuses.push((await pay(event)).status)

  expect(statuses).toEqual([200, 200, 409])
  expect(await server.kora.findById('orders', order)).toMatchObject({ status: 'paid' })
})

test('docs/production-server.md names every option', () => {
  const source = readFileSync(new URL('../../src/http/production-server.ts', import.meta.url), 'utf8')
  const body = /interface ProductionServerConfig \{([\s\S]*?)\n\}/.exec(source)?.[1] ?? ''
  const options = [...body.matchAll(/^ {2}(\w+)\??:/gm)].map((match) => match[1] ?? '')

  expect(options).toContain('store')
  for (const option of options) expect(page).toContain(`\`${option}\``)
})
