import { expect, test } from 'vitest'
import type { RevocationSubject } from '../../src/store/revocations.ts'
import { describeEachStore } from '../support/each-store.ts'

const ADA: RevocationSubject = { kind: 'user', value: 'ada' }
const PHONE: RevocationSubject = { kind: 'device', value: 'phone' }
const ALL: RevocationSubject = { kind: 'all', value: '' }

describeEachStore('revocations', (openStore) => {
  test('are found by their subjects, of each kind apart', async () => {
    await using store = await openStore()
    await store.revoke(ADA, 1000)
    await store.revoke({ kind: 'device', value: 'ada' }, 2000)

    expect(await store.findRevocations([ADA, PHONE, ALL])).toEqual([
      { ...ADA, revokedAt: 1000, version: expect.any(Number) },
    ])
    expect(await store.findRevocations([])).toEqual([])
  })

  test('of one subject are one, which moves to the end and never back in time', async () => {
    await using store = await openStore()
    const first = await store.revoke(ADA, 2000)
    const other = await store.revoke(PHONE, 2000)
    const again = await store.revoke(ADA, 1000)

    expect(again).toMatchObject({ ...ADA, revokedAt: 2000 })
    expect(again.version).toBeGreaterThan(other.version)
    expect(await store.listRevocations(0, 10)).toEqual([other, again])
    expect(await store.listRevocations(first.version, 1)).toEqual([other])
    expect(await store.listRevocations(again.version, 10)).toEqual([])
  })

  test.each(['a\0', 'a\ud83d'])(
    'are refused of an id that no backup could be restored with: %j',
    async (value) => {
      await using store = await openStore()

      await expect(store.revoke({ kind: 'user', value }, 1000)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: `No user can have the id ${JSON.stringify(value)}.`,
      })
      expect(await store.listRevocations(0, 10)).toEqual([])
    },
  )

  test.each(['a\0', 'a\ud83d'])('are none of an id that nobody can have: %j', async (value) => {
    await using store = await openStore()
    const other = await store.revoke({ kind: 'user', value: 'a\ufffd' }, 1000)
    const subject: RevocationSubject = { kind: 'user', value }

    expect(await store.findRevocations([subject])).toEqual([])
    expect(await store.undoRevocation(subject)).toBe(false)
    expect(await store.listRevocations(0, 10)).toEqual([other])
  })

  test('can be taken back; the next one is still newer than all before', async () => {
    await using store = await openStore()
    const first = await store.revoke(ALL, 1000)

    expect(await store.undoRevocation(ALL)).toBe(true)
    expect(await store.undoRevocation(ALL)).toBe(false)
    expect(await store.listRevocations(0, 10)).toEqual([])
    expect((await store.revoke(ALL, 500)).version).toBeGreaterThan(first.version)
    expect(await store.findRevocations([ALL])).toMatchObject([{ revokedAt: 500 }])
  })
})
