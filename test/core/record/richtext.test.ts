import { expect, test, vi } from 'vitest'
import { readRichTextBytes } from '../../../src/core/record/richtext.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'

/** Yjs leaves this mark when it is loaded, and warns when it finds it. */
const isYjsLoaded = (): boolean => Reflect.get(globalThis, '__ $YJS$ __') === true

const schemaWith = (kind: 'string' | 'richtext') =>
  defineSchema({ version: 1, collections: { notes: { fields: { text: t[kind]().optional() } } } })

test('Yjs is loaded for a schema with a rich text, once, as the application has it', async () => {
  const warned = vi.spyOn(console, 'error')
  const store = createSqliteServerStore({ filename: ':memory:' })
  await store.setSchema(schemaWith('string'))
  expect(isYjsLoaded()).toBe(false)
  await store.close()

  const other = createSqliteServerStore({ filename: ':memory:' })
  await other.setSchema(schemaWith('richtext'))
  expect(isYjsLoaded()).toBe(true)
  const { Doc, encodeStateAsUpdate } = await import('yjs')
  const document = new Doc()
  document.getText('content').insert(0, 'milk')
  expect(readRichTextBytes(encodeStateAsUpdate(document))).toBe('milk')
  expect(warned).not.toHaveBeenCalled()
  await other.close()
})
