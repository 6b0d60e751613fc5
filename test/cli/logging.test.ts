import { Readable, Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { createLogger } from '../../src/cli/logging.ts'
import type { Output, Terminal } from '../../src/cli/terminal.ts'
import { childLogger } from '../../src/core/logger.ts'

function openLog(format: 'json' | 'pretty' | 'auto', isTerminal = false) {
  const lines: string[] = []
  const stream = new Writable({
    decodeStrings: false,
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const output: Output = { isTerminal, columns: 80, stream, write: async () => {} }
  const terminal: Terminal = {
    readStdin: () => Readable.from([]),
    stdout: output,
    stderr: output,
    env: { NO_COLOR: '1' },
    cwd: '/',
    now: () => 0,
  }
  return { logger: createLogger({ level: 'info', format }, terminal), lines }
}

describe('JSON log', () => {
  test('is one line per event, with level name, time and fields', () => {
    const { logger, lines } = openLog('auto')

    childLogger(logger, { sessionId: 's1' }).info({ operations: 2 }, 'batch committed')

    expect(lines).toEqual([
      '{"level":"info","time":"1970-01-01T00:00:00.000Z","sessionId":"s1","operations":2,"msg":"batch committed"}\n',
    ])
  })

  test('stays one line whatever a client wrote', () => {
    const { logger, lines } = openLog('json')

    logger.warn({ nodeId: 'x"\n{"level":"error"}\u001b[2J\u0000', err: new Error('a\nb') }, 'odd')

    expect(lines).toHaveLength(1)
    expect(lines[0]?.match(/\n/g)).toHaveLength(1)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'warn', msg: 'odd' })
  })

  test('leaves out what is below its level', () => {
    const { logger, lines } = openLog('json')

    logger.debug({}, 'quiet')

    expect(lines).toEqual([])
  })

  test('hides secrets by name and by shape', () => {
    const { logger, lines } = openLog('json')

    logger.error(
      {
        token: 'canary-1',
        store: { connectionString: 'canary-2' },
        auth: { jwt: { secret: 'canary-3' } },
        err: new Error('connect postgres://kora:canary-4@db/app failed', {
          cause: new Error('password=canary-5'),
        }),
      },
      'failed',
    )

    expect(lines[0]).not.toContain('canary')
    expect(lines[0]).toContain('postgres://kora:***@db/app')
  })
})

describe('pretty log', () => {
  test('shows control characters instead of obeying them', () => {
    const { logger, lines } = openLog('auto', true)

    logger.warn({ nodeId: 'a\u001b[31m\r\u009b2Jb', err: new Error('\u001b]0;title\u0007') }, 'odd')

    const text = lines.join('')
    expect(text).toContain('WARN')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: their absence is what is tested
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
  })
})
