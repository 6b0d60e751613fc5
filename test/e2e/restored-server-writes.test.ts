import { expect, test } from 'vitest'
import { openDevice } from '../support/device.ts'
import { describeEachStore } from '../support/each-store.ts'
import { orderSchema, startProductionServer } from '../support/production-server.ts'

describeEachStore('what the application has written through the server', (openStore) => {
  test('comes back from devices when a restore has lost it, whatever it has written since', async () => {
    await using store = await openStore({ nodeId: null })
    await using server = await startProductionServer({ store })
    const write = (title: string) =>
      server.kora.apply({ collection: 'orders', type: 'insert', data: { title } })
    await write('kept')
    const backup = await store.exportBackup()
    await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
    await write('lost 1')
    await write('lost 2')
    await phone.until(() => phone.operations.length === 3, 'it holds all')

    await store.importBackup(backup)
    await phone.until(() => phone.journal.of('closed').length > 0, 'it is sent back to the start')
    await write('new')

    await using fresh = await openDevice({ url: server.syncUrl, schema: orderSchema })
    await fresh.until(() => fresh.operations.length === 4, 'nothing is lost')
    expect(await server.kora.query('orders', { orderBy: 'title' })).toMatchObject([
      { title: 'kept' },
      { title: 'lost 1' },
      { title: 'lost 2' },
      { title: 'new' },
    ])
    await phone.until(() => phone.operations.length === 4, 'the other device has all of it, too')
  })
})
