import { describe, expect, test } from 'vitest'
import { StoreCapacityError, StoreError } from '../../../src/core/errors.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import type { AppendRequest, AppendResult, LogEntry, ServerStore } from '../../../src/store/store.ts'
import { Ingest } from '../../../src/sync/ingest/ingest.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

/** A store whose transactions end when the test says so. */
function controlledStore() {
  const transactions: {
    requests: readonly AppendRequest[]
    /** @param count how many of them it has come to; default: all */
    commit: (count?: number) => void
    fail: (e: Error) => void
  }[] = []
  const append = (requests: readonly AppendRequest[]): Promise<readonly AppendResult[]> =>
    new Promise((resolve, reject) => {
      const commit = (count = requests.length): void =>
        resolve(requests.slice(0, count).map(() => ({ status: 'duplicate' })))
      transactions.push({ requests, commit, fail: reject })
    })
  return { transactions, store: { append } as Pick<ServerStore, 'append'> as ServerStore }
}

function openIngest(
  store: ServerStore,
  options: { maxGroupOperations?: number; maxQueuedBytes?: number } = {},
) {
  const committed: LogEntry[] = []
  const ingest = new Ingest(store, simulatedRuntime(), silentLogger, {
    maxGroupOperations: 100,
    maxQueuedBytes: 1000,
    onCommitted: (entries) => committed.push(...entries),
    ...options,
  })
  return { ingest, committed }
}

function batchOf(count: number, label = 'x'): AppendRequest[] {
  // The ingest looks at nothing but the size of a request.
  return Array.from({ length: count }, (_, i) => ({ wireJson: `${label}${i}` }) as AppendRequest)
}

test('puts everything that arrives during a transaction into the next one', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)

  const first = ingest.submit(batchOf(1, 'a'))
  await settle()
  const others = [ingest.submit(batchOf(2, 'b')), ingest.submit(batchOf(3, 'c'))]
  await settle()
  expect(transactions.map((t) => t.requests.length)).toEqual([1])
  transactions[0]?.commit()
  await first
  await settle()

  expect(transactions[1]?.requests.map((r) => r.wireJson)).toEqual(['b0', 'b1', 'c0', 'c1', 'c2'])
  transactions[1]?.commit()
  const results = await Promise.all(others)
  expect(results.map((r) => r.length)).toEqual([2, 3])
})

test('never splits a batch, and starts another transaction when a group is full', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store, { maxGroupOperations: 4 })

  const settled = Promise.all([
    ingest.submit(batchOf(3)),
    ingest.submit(batchOf(3)),
    ingest.submit(batchOf(9)),
  ])
  for (let i = 0; i < 3; i++) {
    await settle()
    transactions[i]?.commit()
  }
  await settled

  expect(transactions.map((t) => t.requests.length)).toEqual([3, 3, 9])
})

test('a group that is full does not wait for what else the sockets have received', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store, { maxGroupOperations: 4 })

  const settled = [
    ingest.submit(batchOf(2, 'a')),
    ingest.submit(batchOf(2, 'b')),
    ingest.submit(batchOf(1, 'c')),
  ]
  expect(transactions.map((t) => t.requests.length)).toEqual([4])
  transactions[0]?.commit()
  await Promise.all(settled.slice(0, 2))
  expect(transactions).toHaveLength(1)
  settled.push(ingest.submit(batchOf(2, 'd')))
  await settle()
  expect(transactions[1]?.requests.map((r) => r.wireJson)).toEqual(['c0', 'd0', 'd1'])
  transactions[1]?.commit()

  await Promise.all(settled)
  await ingest.drain()
  expect(ingest.queuedBytes).toBe(0)
})

test('what came before a group was full is committed with it, and the rest by itself', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store, { maxGroupOperations: 4 })

  const first = ingest.submit(batchOf(1, 'a')) // to be committed later
  const second = ingest.submit(batchOf(3, 'b')) // fills the group
  const third = ingest.submit(batchOf(1, 'c'))
  await settle()
  expect(transactions.map((t) => t.requests.length)).toEqual([4])
  const drained = ingest.drain()
  transactions[0]?.commit()
  await Promise.all([first, second])
  await settle()
  expect(transactions.map((t) => t.requests.length)).toEqual([4, 1])
  transactions[1]?.commit()

  await third
  await drained
})

test('batches that are not stored because an earlier one was not make no group full', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store, { maxGroupOperations: 4 })
  const phone = {}

  const outcomes = Promise.allSettled([
    ingest.submit(batchOf(4, 'a'), phone),
    ingest.submit(batchOf(3, 'b'), phone),
  ])
  transactions[0]?.fail(new StoreError('STORE_UNAVAILABLE', 'disk full'))
  expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  const other = ingest.submit(batchOf(1, 'other'))
  const drained = ingest.drain()
  expect(transactions).toHaveLength(1) // it waits for what else is there
  await settle()
  transactions[1]?.commit()

  await other
  await drained
  expect(transactions.map((t) => t.requests.length)).toEqual([4, 1])
})

test('fails every batch of a transaction that failed, and goes on with the next', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)

  const failed = [ingest.submit(batchOf(1)), ingest.submit(batchOf(1))]
  const outcomes = Promise.allSettled(failed)
  await settle()
  transactions[0]?.fail(new StoreError('STORE_UNAVAILABLE', 'disk full'))
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })
    expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(StoreError)
  }
  const next = ingest.submit(batchOf(1))
  await settle()
  transactions[1]?.commit()

  await expect(next).resolves.toHaveLength(1)
})

describe('a transaction that leaves a part of its group to the next one', () => {
  const wiresOf = ({ requests }: { requests: readonly AppendRequest[] }) =>
    requests.map(({ wireJson }) => wireJson)

  test('settles each batch once all of it is stored, in the order of arrival', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)
    const settled: string[] = []
    const submit = async (name: string, count: number) => {
      const results = await ingest.submit(batchOf(count, name))
      settled.push(`${name}: ${results.length}`)
    }

    const all = [submit('a', 1), submit('b', 3), submit('c', 1)]
    await settle()
    const later = submit('d', 1)
    transactions[0]?.commit(2)
    await settle()
    expect(settled).toEqual(['a: 1'])
    transactions[1]?.commit(1)
    await settle()
    transactions[2]?.commit()
    await settle()
    transactions[3]?.commit()
    await Promise.all([...all, later])

    expect(transactions.map(wiresOf)).toEqual([
      ['a0', 'b0', 'b1', 'b2', 'c0'],
      ['b1', 'b2', 'c0'],
      ['b2', 'c0'],
      ['d0'],
    ])
    expect(settled).toEqual(['a: 1', 'b: 3', 'c: 1', 'd: 1'])
    await ingest.drain()
    expect(ingest.queuedBytes).toBe(0)
  })

  test('hands the next one twice what it has taken up itself, which the store looks up anew', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)

    const all = [
      ingest.submit(batchOf(2, 'a')),
      ingest.submit(batchOf(9, 'b')),
      ingest.submit(batchOf(1, 'c')),
    ]
    for (const taken of [1, 2, 1, 2, 4, 2]) {
      await settle()
      transactions.at(-1)?.commit(taken)
    }

    expect((await Promise.all(all)).map(({ length }) => length)).toEqual([2, 9, 1])
    expect(transactions.map(wiresOf).map((wires) => `${wires[0]} to ${wires.at(-1)}`)).toEqual([
      'a0 to c0',
      'a1 to b0',
      'b1 to b4',
      'b2 to b3',
      'b4 to b7',
      'b8 to c0',
    ])
  })

  test('fails the batches that the next one does not store', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)

    const [stored, halfStored] = [ingest.submit(batchOf(1, 'a')), ingest.submit(batchOf(2, 'b'))]
    const outcome = expect(halfStored).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    await settle()
    transactions[0]?.commit(2)
    await settle()
    transactions[1]?.fail(new StoreError('STORE_UNAVAILABLE', 'disk full'))

    await expect(stored).resolves.toHaveLength(1)
    await outcome
    await ingest.drain()
    expect(ingest.queuedBytes).toBe(0)
  })

  test('refuses the rest when another log is there', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)

    const batch = ingest.submit(batchOf(2))
    const outcome = expect(batch).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    await settle()
    ingest.refuseWaiting()
    transactions[0]?.commit(1)

    await outcome
    expect(transactions).toHaveLength(1)
  })

  test('keeps the order where one batch is stored at a time', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)

    const batches = [ingest.submit(batchOf(2, 'a')), ingest.submit(batchOf(1, 'b'))]
    await settle()
    transactions[0]?.fail(new TypeError('a programming error'))
    await settle()
    transactions[1]?.commit(1)
    await settle()
    transactions[2]?.commit()

    expect((await Promise.all(batches)).map(({ length }) => length)).toEqual([2, 1])
    expect(transactions.map(wiresOf)).toEqual([
      ['a0', 'a1', 'b0'],
      ['a0', 'a1'],
      ['a1', 'b0'],
    ])
  })

  test('stores nothing more of a source that has been withdrawn, and goes on with the others', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)
    const source = {}

    const outcomes = Promise.allSettled([
      ingest.submit(batchOf(2, 'a'), source),
      ingest.submit(batchOf(1, 'b'), {}),
    ])
    await settle()
    ingest.withdraw(source)
    transactions[0]?.commit(1)
    await settle()
    transactions[1]?.commit()

    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
    expect(transactions.map(wiresOf)).toEqual([['a0', 'a1', 'b0'], ['b0']])
  })

  test('stores nothing of a source beyond a batch that was not stored', async () => {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store)
    const source = {}

    const outcomes = Promise.allSettled([
      ingest.submit(batchOf(1, 'a'), source),
      ingest.submit(batchOf(2, 'b'), {}),
      ingest.submit(batchOf(1, 'c'), source),
    ])
    await settle()
    transactions[0]?.fail(new TypeError('a programming error'))
    await settle()
    transactions[1]?.fail(new TypeError('a programming error'))
    await settle()
    transactions[2]?.commit(1)
    await settle()
    transactions[3]?.commit()

    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected'])
    expect(transactions.map(wiresOf).slice(1)).toEqual([['a0'], ['b0', 'b1'], ['b1']])
  })
})

test('stores nothing of a session beyond a batch that was not stored', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)
  const [phone, tablet] = [{}, {}]

  const first = ingest.submit(batchOf(1, 'phone'), phone)
  await settle()
  const second = ingest.submit(batchOf(1, 'phone'), phone)
  const other = ingest.submit(batchOf(1, 'tablet'), tablet)
  const outcomes = Promise.allSettled([first, second])
  transactions[0]?.fail(new StoreError('STORE_UNAVAILABLE', 'disk full'))
  await settle()
  const third = ingest.submit(batchOf(1, 'phone'), phone)
  await expect(third).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  transactions[1]?.commit()

  expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await expect(other).resolves.toHaveLength(1)
  expect(transactions.flatMap((t) => t.requests.map((r) => r.wireJson))).toEqual(['phone0', 'tablet0'])
  expect(ingest.queuedBytes).toBe(0)
})

test.each([
  new TypeError('a programming error'),
  new StoreCapacityError('STORE_UNAVAILABLE', 'too much at once'),
])('a batch that the store stumbles over does not keep the others from being stored: %s', async (error) => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)

  const bad = ingest.submit(batchOf(1, 'bad'), {})
  const good = ingest.submit(batchOf(1, 'good'), {})
  const refused = expect(bad).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await settle()
  transactions[0]?.fail(error)
  await settle()
  transactions[1]?.fail(error)
  await settle()
  transactions[2]?.commit()

  await refused
  await expect(good).resolves.toHaveLength(1)
  await ingest.drain()
  expect(ingest.queuedBytes).toBe(0)
})

test('refuses what waits when another log is there, and stores what comes then', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)
  const waiting = Promise.allSettled([ingest.submit(batchOf(1, 'a')), ingest.submit(batchOf(1, 'b'))])
  const drained = ingest.drain()

  ingest.refuseWaiting()
  await drained
  const next = ingest.submit(batchOf(1, 'c'))
  await settle()
  transactions[0]?.commit()
  await next

  const refusal = { status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } }
  expect(await waiting).toMatchObject([refusal, refusal])
  expect(transactions.map(({ requests }) => requests.map(({ wireJson }) => wireJson))).toEqual([['c0']])
  expect(ingest.queuedBytes).toBe(0)
})

test('stores nothing more of a source that is withdrawn, and all of the others', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)
  const [source, other] = [{}, {}]
  const first = ingest.submit(batchOf(1, 'a'), source)
  await settle()
  const waiting = Promise.allSettled([
    ingest.submit(batchOf(1, 'b'), source),
    ingest.submit(batchOf(1, 'c'), other),
  ])

  ingest.withdraw(source)
  const late = Promise.allSettled([ingest.submit(batchOf(1, 'd'), source)])
  transactions[0]?.commit()
  await first // which was being written
  await settle()
  transactions[1]?.commit()

  const refusal = { status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } }
  expect(await waiting).toMatchObject([refusal, { status: 'fulfilled' }])
  expect(await late).toMatchObject([refusal])
  expect(transactions.map(({ requests }) => requests.map(({ wireJson }) => wireJson))).toEqual([
    ['a0'],
    ['c0'],
  ])
  await ingest.drain()
  expect(ingest.queuedBytes).toBe(0)
})

test('stores nothing more of a source that is withdrawn while one batch of a group is stored at a time', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)
  const source = {}

  const outcomes = Promise.allSettled([
    ingest.submit(batchOf(1, 'a'), source),
    ingest.submit(batchOf(1, 'b'), source),
    ingest.submit(batchOf(1, 'c'), {}),
  ])
  await settle()
  transactions[0]?.fail(new TypeError('a programming error'))
  await settle()
  ingest.withdraw(source)
  transactions[1]?.commit() // which was being written
  await settle()
  transactions[2]?.commit()
  await settle()
  transactions[3]?.commit()

  expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(transactions.map(({ requests }) => requests.map(({ wireJson }) => wireJson))).toEqual([
    ['a0', 'b0', 'c0'],
    ['a0'],
    ['c0'],
  ])
  await ingest.drain()
  expect(ingest.queuedBytes).toBe(0)
})

test.each([
  { when: 'its first batch is stored by itself', during: 1, stored: ['a0', 'b0', 'a0'] },
  { when: 'it is stored together', during: 0, stored: ['a0', 'b0'] },
])('refuses the rest of a group when another log is there while $when', async ({ during, stored }) => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)
  const outcomes = Promise.allSettled([ingest.submit(batchOf(1, 'a')), ingest.submit(batchOf(1, 'b'))])
  const drained = ingest.drain()

  for (let n = 0; n <= during; n++) {
    await settle()
    if (n === during) ingest.refuseWaiting()
    transactions[n]?.fail(new StoreError('STORE_CORRUPT', 'a damaged row'))
  }
  await settle()
  for (const { commit } of transactions.slice(during + 1)) commit()
  await drained

  expect((await outcomes)[1]).toMatchObject({ status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })
  expect(transactions.flatMap(({ requests }) => requests.map(({ wireJson }) => wireJson))).toEqual(stored)
  expect(ingest.queuedBytes).toBe(0)
})

test('an error in who is told of a commit does not end the writing', async () => {
  const { store, transactions } = controlledStore()
  const ingest = new Ingest(store, simulatedRuntime(), silentLogger, {
    maxGroupOperations: 100,
    maxQueuedBytes: 1000,
    onCommitted: () => {
      throw new Error('an observer failed')
    },
  })

  for (const round of [0, 1]) {
    const stored = ingest.submit(batchOf(1))
    await settle()
    transactions[round]?.commit()
    await expect(stored).resolves.toHaveLength(1)
  }
})

test('tells when its queue is full, and when there is room again', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store, { maxQueuedBytes: 10 })

  const stored = ingest.submit(batchOf(10))
  expect(ingest.isFull).toBe(true)
  let hasRoom = false
  void ingest.whenRoom(batchOf(1)).then(() => {
    hasRoom = true
  })
  await settle()
  expect(hasRoom).toBe(false)
  transactions[0]?.commit()
  await stored

  await settle()
  expect(hasRoom).toBe(true)
  expect(ingest.queuedBytes).toBe(0)
})

test('drains: resolves once nothing waits any more', async () => {
  const { store, transactions } = controlledStore()
  const { ingest } = openIngest(store)
  void ingest.submit(batchOf(1))
  let isDrained = false
  void ingest.drain().then(() => {
    isDrained = true
  })
  await settle()
  expect(isDrained).toBe(false)

  transactions[0]?.commit()
  await settle()

  expect(isDrained).toBe(true)
})

test('takes as many entries as one operation may bring', async () => {
  const entries = Array.from({ length: 200_000 }, (_, n) => ({ deliverySequence: n + 1 }) as LogEntry)
  const store = { append: async () => [{ status: 'applied', entries }] } as unknown as ServerStore
  let published = 0
  const ingest = new Ingest(store, simulatedRuntime(), silentLogger, {
    maxGroupOperations: 100,
    maxQueuedBytes: 1000,
    onCommitted: ({ length }) => {
      published = length
    },
  })
  const results = await ingest.submit(batchOf(1))
  expect(results).toHaveLength(1)
  expect(published).toBe(200_000)
})

describe('room', () => {
  /** A queue of ten bytes that is full, and sessions that wait to hand in a batch each. */
  function openFull() {
    const { store, transactions } = controlledStore()
    const { ingest } = openIngest(store, { maxQueuedBytes: 10 })
    void ingest.submit(batchOf(5, 'x'))
    const handedIn: string[] = []
    const queue = async (label: string, isOpen = true): Promise<void> => {
      const batch = batchOf(3, label)
      await ingest.whenRoom(batch)
      if (!isOpen) return
      handedIn.push(label)
      void ingest.submit(batch)
    }
    const commit = async (): Promise<void> => {
      transactions.at(-1)?.commit()
      await settle()
    }
    return { ingest, handedIn, queue, commit, transactions }
  }

  test('those who wait for it are let in one after the other, in order, as many as it suffices for', async () => {
    const { ingest, handedIn, queue, commit } = openFull()
    for (const label of ['a', 'b', 'c', 'd', 'e']) void queue(label)
    await settle()
    expect(handedIn).toEqual([])

    const queued: number[] = []
    for (let round = 0; round < 3; round++) {
      await commit()
      queued.push(ingest.queuedBytes)
    }

    expect(handedIn).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(queued).toEqual([12, 12, 6]) // of batches of six bytes each: below ten, and one more
    await commit()
    expect(ingest.queuedBytes).toBe(0)
    expect(ingest.isFull).toBe(false)
  })

  test('who comes later does not go before them', async () => {
    const { ingest, handedIn, queue, commit } = openFull()
    for (const label of ['a', 'b', 'c']) void queue(label)
    await settle()

    await commit()
    expect(handedIn).toEqual(['a', 'b'])
    void queue('d')
    await settle()
    expect(ingest.isFull).toBe(true)
    await commit()

    expect(handedIn).toEqual(['a', 'b', 'c', 'd'])
  })

  test('who has ended meanwhile, and hands in nothing, keeps nobody waiting', async () => {
    const { handedIn, queue, commit } = openFull()
    for (let n = 0; n < 10; n++) void queue('ended', false)
    for (const label of ['a', 'b']) void queue(label)
    await settle()

    await commit()

    expect(handedIn).toEqual(['a', 'b'])
  })

  test('who is withdrawn is not let in, and no room is kept for it', async () => {
    const turns: (() => void)[] = []
    const { store, transactions } = controlledStore()
    const runtime = { ...simulatedRuntime(), defer: (turn: () => void) => void turns.push(turn) }
    const ingest = new Ingest(store, runtime, silentLogger, {
      maxGroupOperations: 5,
      maxQueuedBytes: 10,
      onCommitted: () => {},
    })
    void ingest.submit(batchOf(5))
    const ended = Array.from({ length: 10 }, () => new AbortController())
    const letIn: string[] = []
    for (const { signal } of ended) void ingest.whenRoom(batchOf(3), signal).then(() => letIn.push('ended'))
    void ingest.whenRoom(batchOf(3)).then(() => letIn.push('open'))

    for (const session of ended) session.abort()
    transactions[0]?.commit()
    await settle()

    expect(letIn).toEqual(['open'])
    expect(turns).toHaveLength(1) // the event loop has not turned yet
  })

  test('nobody goes before one that was let in and has yet to hand its batch in', async () => {
    const { ingest, handedIn, queue, transactions } = openFull()
    void queue('a')
    await settle()

    transactions[0]?.commit()
    const seen: boolean[] = []
    while (handedIn.length === 0) {
      seen.push(ingest.isFull)
      await Promise.resolve()
    }

    expect(seen).not.toContain(false)
  })

  test('what waits for it is waited for by who drains', async () => {
    const { ingest, queue, commit } = openFull()
    for (const label of ['a', 'b', 'c']) void queue(label)
    void queue('ended', false)
    let isDrained = false
    void ingest.drain().then(() => {
      isDrained = true
    })
    await settle()

    for (let round = 0; round < 3; round++) {
      expect(isDrained).toBe(false)
      await commit()
    }

    expect(isDrained).toBe(true)
    expect(ingest.queuedBytes).toBe(0)
    await ingest.drain()
  })
})
