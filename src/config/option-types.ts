import { isIP } from 'node:net'
import * as v from 'valibot'
import { jwksUrlProblem } from '../auth/jwks-client.ts'
import { findTemplateProblems } from '../auth/scope-templates.ts'
import { describeRange, type NumberRange } from '../core/number-range.ts'
import { postgresUrlProblem } from '../core/postgres-url.ts'
import { originProblem } from '../http/allowed-origins.ts'
import { bearerTokenProblem } from '../http/bearer-token.ts'
import { syncPathProblem } from '../http/own-paths.ts'
import { describeValue } from './display-value.ts'
import { formatDuration, parseDuration } from './duration.ts'

/** The values of an option: for the parser, the JSON schema and the reference page. */
export interface OptionType {
  /** Checks the value and converts it to the form that the server uses. */
  readonly schema: v.GenericSchema<unknown, unknown>
  /** The rest of "expected …" in messages, and the type column of the reference. */
  readonly expects: string
  /** Converts the text of a flag or environment variable; absent: the text is the value. */
  readonly fromText?: (text: string) => unknown
  /** True for a path, which is made absolute. */
  readonly isPath?: boolean
  /** True where the path must be that of a file. */
  readonly mustExist?: boolean
  /** True for a module, which may also be a folder with an index file. */
  readonly isModule?: boolean
  /**
   * JSON schema, where it cannot be derived from `schema`; null: only TypeScript and JavaScript files can set the
   * option.
   */
  readonly json?: { readonly [keyword: string]: unknown }
  /** Finds problems inside the value, with paths relative to the option. Runs after `schema`. */
  readonly inspect?: (value: unknown) => readonly InnerProblem[]
}

const FILLED = v.pipe(v.string(), v.minLength(1))

interface InnerProblem {
  readonly path: string
  readonly message: string
}

export function text(expects = 'text that is not empty'): OptionType {
  return { schema: FILLED, expects }
}

/** A token for use in a header. */
export function bearerToken(): OptionType {
  return {
    ...text(),
    inspect: (value) => {
      const message = bearerTokenProblem(String(value))
      return message === null ? [] : [{ path: '', message }]
    },
    json: { type: 'string', pattern: '^[!-~]([ -~]*[!-~])?$' },
  }
}

export function oneOf(values: readonly string[]): OptionType {
  return { schema: v.picklist(values), expects: `one of ${values.join(', ')}` }
}

/** True or false; in flags and environment variables the words `true` and `false`. */
export function flag(): OptionType {
  return {
    schema: v.boolean(),
    expects: 'true or false',
    fromText: (value) => (value === 'true' ? true : value === 'false' ? false : value),
  }
}

/** A whole number within the range, both ends included. */
export function integer(range: NumberRange): OptionType {
  return {
    schema: v.pipe(v.number(), v.safeInteger(), v.minValue(range.min), v.maxValue(range.max)),
    expects: describeRange(range),
    // A blank text is refused, because Number('') is 0.
    fromText: (value) => (value.trim() === '' ? value : Number(value)),
  }
}

/** A duration, converted to whole ms. A number is ms, or seconds where `numbersAre` says so. */
export function duration(
  maxMs: number,
  { minMs = 0, numbersAre = 'ms' }: { minMs?: number; numbersAre?: 'ms' | 'seconds' } = {},
): OptionType {
  const factor = numbersAre === 'ms' ? 1 : 1000
  const inRange = (valueMs: number | null): valueMs is number =>
    valueMs !== null && valueMs >= minMs && valueMs <= maxMs
  const range =
    minMs === 0
      ? `up to ${formatDuration(maxMs)}`
      : `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`
  return {
    schema: v.pipe(
      v.union([v.pipe(v.number(), v.minValue(0)), v.string()]),
      v.transform((value) => (typeof value === 'number' ? Math.round(value * factor) : parseDuration(value))),
      v.check(inRange),
    ),
    expects: `a duration ${range}, such as '10s' or '5m', or a number of ${numbersAre === 'ms' ? 'milliseconds' : 'seconds'}`,
    json: {
      anyOf: [
        { type: 'number', minimum: minMs / factor },
        { type: 'string', pattern: '^\\d+(\\.\\d+)? ?(ms|s|m|h|d)$' },
      ],
    },
  }
}

/** Makes a list of a problem with the value as a whole. */
function asProblems(message: string | null): readonly InnerProblem[] {
  return message === null ? [] : [{ path: '', message }]
}

/** A path; relative ones are relative to the configuration file. */
export function path(mustExist = false): OptionType {
  return {
    schema: FILLED,
    expects: mustExist ? 'the path of a file' : 'a path',
    isPath: true,
    mustExist,
    inspect: (value) => asProblems(pathProblem(String(value))),
  }
}

/**
 * Refuses a URL, which would become the path of a file, and may hold a password. At least two letters, because `C:`
 * is a drive.
 */
function pathProblem(text: string): string | null {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(text)) return 'is a URL; expected a path'
  return isNearlyPostgresUrl(text)
    ? 'is nearly the URL of a PostgreSQL database. Did you mean one that starts with postgres://?'
    : null
}

/** `postgres//host/app` and `postgres:/host/app`, which are paths as well, but hardly of a file. */
function isNearlyPostgresUrl(text: string): boolean {
  return /^postgres(ql)?(:|\/\/)/i.test(text)
}

/** A file, or the value itself in a TypeScript or JavaScript configuration. */
export function fileOr(what: string, isValue: (value: object) => boolean): OptionType {
  return {
    schema: v.union([
      FILLED,
      v.custom((value) => typeof value === 'object' && value !== null && isValue(value)),
    ]),
    expects: `the path of a file, or ${what}`,
    isPath: true,
    mustExist: true,
    isModule: true,
    json: { type: 'string', minLength: 1 },
  }
}

/** One text, or a list of at least one. */
export function textOrList(expects: string): OptionType {
  return { schema: v.union([FILLED, v.pipe(v.array(FILLED), v.minLength(1))]), expects }
}

/** A list of at least one of the values. */
export function listOf(values: readonly string[]): OptionType {
  return {
    schema: v.pipe(v.array(v.picklist(values)), v.minLength(1)),
    expects: `a list of ${values.join(', ')}`,
  }
}

/** A path of the server at which sync can be served. */
export function syncPath(): OptionType {
  return {
    schema: v.pipe(v.string(), v.regex(/^\/[^\s?#]*$/)),
    expects: "a path that starts with '/', such as '/sync'",
    inspect: (value) => asProblems(syncPathProblem(String(value))),
  }
}

/** A URL that keys are fetched from: https, or http on a loopback address. */
export function jwksUrl(): OptionType {
  return {
    schema: v.pipe(
      v.string(),
      v.check((value) => jwksUrlProblem(value) === null),
    ),
    expects:
      'a URL that starts with https:// (http:// only for a loopback address), without user and password',
    json: { type: 'string', pattern: '^https?://' },
  }
}

export function webUrl(): OptionType {
  return {
    schema: v.pipe(v.string(), v.check(isWebUrl)),
    expects: 'a URL that starts with https:// or http://, without user and password',
    json: { type: 'string', pattern: '^https?://' },
  }
}

function isWebUrl(text: string): boolean {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return false
  const { username, password } = new URL(text)
  return username === '' && password === ''
}

/** The URL of a PostgreSQL database. */
export function postgresUrl(): OptionType {
  return {
    schema: v.pipe(v.string(), v.regex(/^postgres(ql)?:\/\/\S+$/i)),
    expects: 'a URL that starts with postgres:// or postgresql://',
    inspect: (value) => asProblems(postgresUrlProblem(String(value))),
    json: { type: 'string', pattern: '^postgres(ql)?:\\/\\/\\S+$' },
  }
}

/** A name in the database. PostgreSQL cuts names off at 63 bytes. */
export function sqlName(): OptionType {
  return {
    schema: v.pipe(v.string(), v.regex(/^[a-z_][a-z0-9_]{0,62}$/)),
    expects: 'a name of up to 63 lower-case letters, digits and "_"',
  }
}

/** A list of origins as browsers send them. */
export function origins(): OptionType {
  return {
    schema: v.array(v.unknown()),
    expects: "a list of origins, such as 'https://app.example.com'",
    inspect: (value) =>
      entriesOf(value).flatMap((origin, index) => {
        const problem = originProblem(origin)
        return problem === null ? [] : [{ path: '', message: `entry ${index + 1}, ${problem}` }]
      }),
    json: { type: 'array', items: { type: 'string', pattern: '^https?://[^/]+$' } },
  }
}

/** A list of addresses and CIDR ranges; in text, separated by commas. */
export function proxies(): OptionType {
  return {
    schema: v.array(v.unknown()),
    expects: "a list of addresses or CIDR ranges of the proxies, such as '10.0.0.0/8'",
    fromText: (value) => value.split(',').map((range) => range.trim()),
    inspect: (value) =>
      entriesOf(value).flatMap((range, index) => {
        if (typeof range === 'string' && isAddressRange(range)) return []
        const problem = `${describeValue(range)} is not an address or CIDR range, such as '10.0.0.0/8'`
        return [{ path: '', message: `entry ${index + 1}, ${problem}` }]
      }),
    json: { type: 'array', items: { type: 'string' } },
  }
}

/** The entries of a list, including holes from superfluous commas, which array methods skip. */
function entriesOf(value: unknown): readonly unknown[] {
  return Array.from(value as readonly unknown[])
}

function isAddressRange(value: string): boolean {
  const [address = '', bits, ...rest] = value.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

export function jwk(): OptionType {
  return {
    schema: v.looseObject({ kty: v.string() }),
    expects: 'a JWK: an object with "kty"',
    json: { type: 'object', required: ['kty'], properties: { kty: { type: 'string' } } },
  }
}

/** Collection → field → value. With claims it may also be a function, which JSON and YAML cannot express. */
export function scopeMap({ allowsClaims }: { allowsClaims: boolean }): OptionType {
  const isTemplate = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value)
  return {
    schema: v.custom((value) => isTemplate(value) || (allowsClaims && typeof value === 'function')),
    expects: allowsClaims
      ? "an object of collections, such as { todos: { userId: '$claims.sub' } }, or a function of the claims"
      : 'an object of collections, such as { news: {}, polls: { isPublic: true } }',
    inspect: (value) => (typeof value === 'function' ? [] : findTemplateProblems(value, { allowsClaims })),
    json: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        additionalProperties: { type: ['string', 'number', 'boolean', 'null'] },
      },
    },
  }
}
