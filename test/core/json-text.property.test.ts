import fc from 'fast-check'
import { expect, test } from 'vitest'
import { jsonOfFields, jsonOfName, jsonOfText } from '../../src/core/json-text.ts'
import type { FieldValues } from '../../src/core/operation.ts'

const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
})
const someText = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), anyText)

test('texts are written as JSON.stringify writes them, half surrogate pairs included', () => {
  fc.assert(
    fc.property(someText, (text) => {
      expect(jsonOfText(text)).toBe(JSON.stringify(text))
    }),
  )
})

test('each code unit by itself is escaped where JSON.stringify escapes it', () => {
  const differing = Array.from({ length: 0x1_0000 }, (_, code) => String.fromCharCode(code)).filter(
    (text) => jsonOfText(text) !== JSON.stringify(text),
  )
  expect(differing).toEqual([])
})

test('fields are written as JSON.stringify writes them, whatever their names and values', () => {
  const value = fc.oneof(someText, fc.jsonValue(), fc.double(), fc.constant(undefined))
  fc.assert(
    fc.property(fc.dictionary(someText, value), (fields) => {
      expect(jsonOfFields(fields as FieldValues)).toBe(JSON.stringify(fields))
    }),
  )
  expect(jsonOfFields(null)).toBe('null')
})

test('names are written as JSON.stringify writes them, more of them than are remembered, twice each', () => {
  const names = fc.sample(fc.oneof(someText, fc.string({ minLength: 60, maxLength: 70 })), 3000)
  const twice = names.flatMap((name) => [name, name])
  expect(twice.map(jsonOfName)).toEqual(twice.map((name) => JSON.stringify(name)))
})
