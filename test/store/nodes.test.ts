import { expect, test } from 'vitest'
import { guestEntry } from '../../src/core/version-vector.ts'
import { EMPTY_LOG } from '../../src/store/node-index.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../support/operation-author.ts'

describeEachStore('nodes', (openStore) => {
  test('are known once they are registered', async () => {
    await using store = await openStore()

    await store.registerNode({ nodeId: 'a' })

    expect([...(await store.readNodes(['a', 'b']))]).toEqual([
      ['a', { nodeId: 'a', userId: null, scopeEra: null, legacyPosition: 0 }],
    ])
  })

  test('keep their first user, and whatever else was not said again', async () => {
    await using store = await openStore()

    await store.registerNode({ nodeId: 'a', scopeEra: 'v1' })
    await store.registerNode({ nodeId: 'a', userId: 'u1' })
    const after = await store.registerNode({ nodeId: 'a', userId: 'u2', legacyPosition: 7 })

    expect(after).toEqual({ nodeId: 'a', userId: 'u1', scopeEra: 'v1', legacyPosition: 7 })
    expect((await store.readNodes(['a'])).get('a')).toEqual(after)
    expect(await store.registerNode({ nodeId: 'a', scopeEra: null })).toMatchObject({ scopeEra: null })
  })

  test('are left as they are by who knows an earlier view of them', async () => {
    await using store = await openStore()
    await store.registerNode({ nodeId: 'a', scopeEra: 'v1' })
    await store.registerNode({ nodeId: 'b' })

    for (const nodeId of ['a', 'b']) await store.registerNode({ nodeId, scopeEra: 'v2', legacyPosition: 3 })
    const late = [
      await store.registerNode({ nodeId: 'a', userId: 'u', legacyPosition: 9 }, { scopeEra: 'v1' }),
      await store.registerNode({ nodeId: 'b', scopeEra: 'v3' }, { scopeEra: null }),
    ]

    expect(late.map(({ userId, scopeEra, legacyPosition }) => [userId, scopeEra, legacyPosition])).toEqual([
      [null, 'v2', 3],
      [null, 'v2', 3],
    ])
    expect([...(await store.readNodes(['a', 'b'])).values()]).toEqual(late)
    expect(
      await store.registerNode({ nodeId: 'a', scopeEra: null, legacyPosition: 9 }, { scopeEra: 'v2' }),
    ).toMatchObject({ scopeEra: null, legacyPosition: 9 })
    expect(await store.registerNode({ nodeId: 'a', legacyPosition: 10 }, { scopeEra: null })).toMatchObject({
      legacyPosition: 10,
    })
  })

  test('that came when the log was empty are not those of whom nothing is known', async () => {
    await using store = await openStore()

    await store.registerNode({ nodeId: 'a', legacyPosition: EMPTY_LOG })

    expect((await store.readNodes(['a'])).get('a')?.legacyPosition).toBe(EMPTY_LOG)
  })

  test('are registered beside their operations', async () => {
    await using store = await openStore()
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])

    await store.registerNode({ nodeId: 'a', userId: 'u1' })

    expect([...(await store.getVersionVector())]).toEqual([['a', 1]])
  })
})

describeEachStore('blobs', (openStore) => {
  const hash = (digit: string): string => digit.repeat(64)
  const blob = (digit: string, manifest?: string) => ({
    hash: hash(digit),
    size: 3,
    ...(manifest === undefined ? {} : { manifestHash: hash(manifest) }),
  })

  test('are found by the records that refer to them, in pages', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r2', { file: blob('1', '2') }),
      author.insert('r1', { file: blob('1') }),
      author.insert('r3', { file: blob('3') }),
      author.update('r1', { file: null }),
    ])
    await appendAll(store, [new OperationAuthor('b').update('r2', { file: blob('1') })])

    const first = await store.readBlobReferrers(hash('1'), 1)
    const second = await store.readBlobReferrers(hash('1'), 10, first[0])

    expect(first).toEqual([{ collection: 'todos', recordId: 'r1', author: 'a' }])
    expect(second).toEqual([{ collection: 'todos', recordId: 'r2', author: 'a' }])
    expect(await store.readBlobReferrers(hash('2'), 10)).toHaveLength(1)
    expect(await store.readBlobReferrers(hash('9'), 10)).toEqual([])
  })

  test('belong to who made the present reference, if that is proven', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const unproven = { speaker: 'nobody' } as const
    const guest = { speaker: { guest: 'u2' } } as const
    const append = (...request: Parameters<typeof requestOf>) => store.append([requestOf(...request)])
    await appendAll(store, [author.insert('r1', { file: blob('1') })])
    await append(author.update('r1', { file: blob('1'), title: 'again' }), unproven)
    await append(author.insert('r2', { file: blob('1') }), guest)
    await append(author.insert('r3', { file: blob('1') }), unproven)
    await appendAll(store, [author.insert('r4', { file: blob('1') }), author.update('r4', { file: null })])
    await append(author.update('r4', { file: blob('1') }), unproven)
    await appendAll(store, [
      author.insert('r5', { file: blob('1') }),
      author.update('r5', { file: null }),
      author.update('r5', { file: blob('1') }),
    ])

    const referrers = await store.readBlobReferrers(hash('1'), 10)

    expect(referrers.map(({ author }) => author)).toEqual(['a', guestEntry('a', 'u2'), null, null, 'a'])
  })

  test('are live while a live record refers to them', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { file: blob('1', '2') }),
      author.insert('r2', { file: blob('3') }),
      author.insert('r3', { file: blob('4') }),
      author.update('r2', { file: null }),
      author.delete('r3'),
    ])

    expect([...(await store.getLiveBlobRefs())].sort()).toEqual([hash('1'), hash('2')])
  })

  test('are live, too, while the record that refers to them was deleted lately', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const insert = author.insert('r1', { file: blob('1', '2') })
    await appendAll(store, [insert])
    const before = await store.getMaxDeliverySequence()
    await appendAll(store, [author.delete('r1')])
    const after = await store.getMaxDeliverySequence()

    expect(await store.getLiveBlobRefs(after)).toEqual(new Set())
    expect(await store.getLiveBlobRefs(before)).toEqual(new Set([hash('1'), hash('2')]))
  })

  test('know their chunks, who has sent them, and how much that is', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { file: blob('d', '1') }),
      author.insert('r2', { file: blob('e', '2') }),
    ])
    await store.linkBlobChunks(hash('2'), [hash('a'), hash('b'), hash('a')])
    await store.linkBlobChunks(hash('1'), [hash('a')])
    await store.linkBlobChunks(hash('0'), [hash('a')]) // no record refers to it
    await store.recordBlobUpload({ hash: hash('a'), byteLength: 10, userId: 'u1', holders: ['t1'] })
    await store.recordBlobUpload({ hash: hash('a'), byteLength: 10, userId: 'u1', holders: ['t2'] })
    await store.recordBlobUpload({ hash: hash('b'), byteLength: 5, userId: 'u1', holders: ['t1'] })

    const manifests = [
      { hash: hash('0'), isReferred: false },
      { hash: hash('1'), isReferred: true },
      { hash: hash('2'), isReferred: true },
    ]
    expect(await store.readBlobManifests(hash('a'), 10)).toEqual(manifests)
    expect(await store.readBlobManifests(hash('a'), 2)).toEqual(manifests.slice(0, 2))
    expect(await store.readBlobManifests(hash('a'), 10, hash('1'))).toEqual(manifests.slice(2))
    expect(await store.checkBlobHolders(hash('a'), ['t2', 't3'])).toBe('held')
    expect(await store.checkBlobHolders(hash('b'), ['t2'])).toBe('held-by-others')
    expect(await store.checkBlobHolders(hash('c'), ['t1'])).toBe('unknown')
    expect(await store.getBlobUsage('u1')).toBe(15)

    const hashes = ['1', 'a', 'b', 'c', 'd'].map(hash)
    expect([...(await store.readKnownBlobs(hashes))].sort()).toEqual(['1', 'a', 'b', 'd'].map(hash))
    await store.forgetBlobs([hash('a')], Date.now())

    expect(await store.getBlobUsage('u1')).toBe(5)
    expect(await store.checkBlobHolders(hash('a'), ['t1'])).toBe('unknown')
  })

  test('belong to those on whose behalf they came before they are stored, and count for nobody', async () => {
    await using store = await openStore()

    await store.noteBlobHolders(hash('a'), ['t1', 't1'])

    expect(await store.checkBlobHolders(hash('a'), ['t1'])).toBe('held')
    expect(await store.checkBlobHolders(hash('a'), ['t2'])).toBe('held-by-others')
    expect(await store.checkBlobHolders(hash('a'), [])).toBe('held-by-others')
    expect([...(await store.readKnownBlobs([hash('a'), hash('b')]))]).toEqual([hash('a')])
    await store.recordBlobUpload({ hash: hash('b'), byteLength: 5, userId: 'u1', holders: ['t2'] })
    await store.noteBlobHolders(hash('b'), ['t1'])
    expect(await store.getBlobUsage('u1')).toBe(5)
    await store.forgetBlobs([hash('a'), hash('b')], Date.now())
    for (const name of ['a', 'b']) expect(await store.checkBlobHolders(hash(name), ['t1'])).toBe('unknown')
    expect([...(await store.readKnownBlobs([hash('a')]))]).toEqual([])
  })

  test('stay known of those who have sent them again when they are forgotten', async () => {
    await using store = await openStore()
    const send = (userId: string, holder: string) =>
      store.recordBlobUpload({ hash: hash('a'), byteLength: 10, userId, holders: [holder, 'shared'] })
    await send('u1', 't1')
    await send('u2', 't2')
    const sentThrough = Date.now()
    await expect.poll(() => Date.now(), { interval: 1 }).toBeGreaterThan(sentThrough)
    await send('u1', 't1')

    await store.forgetBlobs([hash('a')], sentThrough)

    expect(await store.getBlobUsage('u1')).toBe(10)
    expect(await store.getBlobUsage('u2')).toBe(0)
    expect(await store.checkBlobHolders(hash('a'), ['t1'])).toBe('held')
    expect(await store.checkBlobHolders(hash('a'), ['t2'])).toBe('held-by-others')
    expect(await store.checkBlobHolders(hash('a'), ['shared'])).toBe('held')
    await store.forgetBlobs([hash('a')], Date.now())
    expect(await store.checkBlobHolders(hash('a'), ['shared'])).toBe('unknown')
  })
})
