import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ProcessEvents } from '../../../src/cli/command-context.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { OperationAuthor } from '../../support/operation-author.ts'
import { Workspace } from '../../support/terminal.ts'
import { schema } from '../todos-schema.ts'

let workspace: Workspace
const START = Date.UTC(2026, 0, 31, 12)

beforeAll(async () => {
  workspace = new Workspace()
  const store = createSqliteServerStore({ filename: workspace.path('kora-server.db'), durability: 'normal' })
  await store.setSchema(schema)
  const [phone, laptop] = [new OperationAuthor('phone', START), new OperationAuthor('laptop', START + 60_000)]
  for (const operation of [
    phone.insert('r1', { title: 'milk' }),
    laptop.insert('r2', { title: 'bread' }),
    phone.update('r1', { done: true }),
    laptop.delete('r1'),
  ]) {
    await store.applyRemoteOperation(operation)
  }
  await store.registerNode({ nodeId: 'laptop', userId: 'ada' })
  await store.close()
})

afterAll(() => workspace[Symbol.dispose]())

async function lines(...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await workspace.run(['log', '--format', 'ndjson', ...args])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .map(({ nodeId, type, recordId }) => `${nodeId} ${type} ${recordId}`)
}

const ALL = ['phone insert r1', 'laptop insert r2', 'phone update r1', 'laptop delete r1']

describe('log', () => {
  test.each<[string, string[], string[]]>([
    ['everything', [], ALL],
    ['a record', ['--record', 'r1'], [ALL[0], ALL[2], ALL[3]] as string[]],
    ['a node', ['--node', 'laptop'], [ALL[1], ALL[3]] as string[]],
    ['a collection', ['--collection', 'todos'], ALL],
    ['what was written from a time on', ['--since', '2026-01-31T12:00:30Z'], [ALL[1], ALL[3]] as string[]],
    ['what follows a position', ['--since', '2'], ALL.slice(2)],
    ['the first after a position', ['--since', '1', '--limit', '2'], ALL.slice(1, 3)],
    ['the last', ['--limit', '2'], ALL.slice(2)],
    ['nothing', ['--node', 'nobody'], []],
  ])('prints %s', async (_, args, expected) => {
    expect(await lines(...args)).toEqual(expected)
  })

  test('tells who, what and when, in every format', async () => {
    const json = JSON.parse((await workspace.run(['log', '--limit', '1'])).stdout)
    const csv = (await workspace.run(['log', '--format', 'csv', '--limit', '1'])).stdout
    const table = await workspace.run(['log'], { isTerminal: true, columns: 100 })

    expect(json).toMatchObject([
      { sequence: 4, time: '2026-01-31T12:01:00.002Z', user: 'ada', nodeId: 'laptop', type: 'delete' },
    ])
    expect(csv).toMatch(
      /^sequence,time,user,nodeId,.*\n4,2026-01-31T12:01:00.002Z,ada,laptop,delete,todos,r1/,
    )
    await expect(table.stdout).toMatchFileSnapshot('../expected/log-table.txt')
  })

  test.each([[['--format', 'json']], [['--format', 'csv']]])(
    'names the nearest collection of one that does not exist, and prints nothing: %o',
    async (flags) => {
      expect(await workspace.run(['log', '--collection', 'todo', ...flags])).toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringContaining('Did you mean "todos"?'),
      })
    },
  )

  test('takes a collection that only the log still has for known', async () => {
    using earlier = new Workspace()
    const store = createSqliteServerStore({ filename: earlier.path('kora-server.db'), durability: 'normal' })
    await store.applyRemoteOperation(new OperationAuthor('phone').insert('d1', {}, { collection: 'drafts' }))
    await store.setSchema(schema)
    await store.close()

    const all = await earlier.run(['log', '--collection', 'drafts'])
    const none = await earlier.run(['log', '--collection', 'drafts', '--record', 'd2'])

    expect(JSON.parse(all.stdout)).toMatchObject([{ collection: 'drafts', recordId: 'd1' }])
    expect(none).toMatchObject({ code: 0, stdout: '[]\n' })
  })

  test('says of a number that is written as a day that it counts as a position', async () => {
    expect(await workspace.run(['log', '--since', '20261130'])).toMatchObject({
      code: 0,
      stdout: '[]\n',
      stderr:
        '--since 20261130 counts as a delivery sequence. Where the day is meant, write --since 2026-11-30.\n',
    })
    for (const position of ['20261330', '10000101', '2026']) {
      expect(await workspace.run(['log', '--since', position])).toMatchObject({ code: 0, stderr: '' })
    }
  })

  test('refuses what does not go together', async () => {
    expect(await workspace.run(['log', '--since', 'yesterday'])).toMatchObject({ code: 2 })
    expect(await workspace.run(['log', '--since', '2026-02-31'])).toMatchObject({ code: 2 })
    expect(await workspace.run(['log', '--follow', '--format', 'json'])).toMatchObject({ code: 2 })
    expect(await workspace.run(['log', '--follow', '--since', '2', '--limit', '1'])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('--limit with --since ends after so many operations'),
    })
  })

  test('follows what is stored later, until a signal', async () => {
    let interrupt = (): void => {}
    const events: ProcessEvents = {
      onSignal: (listener) => {
        interrupt = () => listener('SIGINT')
        return () => {}
      },
      yieldSignals: () => {},
      onUncaught: () => () => {},
      exitNow: () => {},
    }
    let printed = ''
    const isPrinted = (text: string) =>
      new Promise<void>((resolve) => {
        const look = (): void => void (printed.includes(text) ? resolve() : setTimeout(look, 20))
        look()
      })

    const running = workspace.run(['log', '--follow', '--limit', '1'], {
      processEvents: events,
      onStdout: (text) => {
        printed += text
      },
    })
    await isPrinted('"delete"')
    const store = createSqliteServerStore({ filename: workspace.path('kora-server.db') })
    await store.applyRemoteOperation(new OperationAuthor('tablet', START).insert('r3', { title: 'later' }))
    await store.close()
    await isPrinted('later')
    interrupt()
    const { code, stdout } = await running

    expect(code).toBe(0)
    expect(stdout.trim().split('\n')).toHaveLength(2)
  })
})
