import { expect, test, vi } from 'vitest'
import * as Y from 'yjs'
import { encodeBytes } from '../../../src/core/record/binary-values.ts'
import {
  loadDocument,
  MAX_SCANNED_ITEMS,
  UNCOUNTED_ITEMS,
} from '../../../src/core/record/bounded-integration.ts'
import { mergeRichTexts, readRichText, readRichTextBytes } from '../../../src/core/record/richtext.ts'
import {
  BASE_CLIENT,
  conflictingItems,
  countedDown,
  STRING,
  text,
  uints,
} from '../../support/crafted-text.ts'
import '../../support/prepare-rich-text.ts'

const WITH_LEFT_ORIGIN = 128

const itemCountOf = (update: Uint8Array): number => Y.decodeUpdate(update).structs.length

test('a document that would be integrated in the square of its size is not', () => {
  const integrated = vi.spyOn(Y.Item.prototype, 'integrate')
  const crafted = conflictingItems(4000)

  expect(() => loadDocument(Y, [crafted])).toThrow('takes too long')

  expect(integrated.mock.calls.length).toBeLessThan(2000)
  integrated.mockRestore()
})

test('formats of a text that an earlier update has made are not tidied, with as many steps for each of its items', () => {
  const base = new Y.Doc()
  base.getMap('fields').set('body', new Y.Text())
  const earlier = Y.encodeStateAsUpdate(base)
  const formatted = withRedundantFormats(earlier, 60)

  const loaded = loadDocument(Y, [earlier, formatted])

  expect(deletedItemsOf(loaded)).toBe(0)
  const tidied = new Y.Doc()
  Y.applyUpdate(tidied, earlier)
  Y.applyUpdate(tidied, formatted)
  expect(deletedItemsOf(tidied)).toBeGreaterThan(0)
})

test('items of many clients are not put off one by one where what they refer to is missing', () => {
  expect(() => loadDocument(Y, [itemsOverGap(4000)])).toThrow('lacks items')

  expect(readRichTextBytes(itemsOverGap(1000))).toBe('')
})

test('of a text that takes too long to be loaded the later side wins, and it is tried once', () => {
  const crafted = encodeBytes(conflictingItems(4000))
  const later = encodeBytes(textBy(1, 'milk'))
  expect(readRichText(crafted)).toBeNull()
  const integrated = vi.spyOn(Y.Item.prototype, 'integrate')

  const merged = mergeRichTexts({ base: null, local: crafted, remote: later, isRemoteLater: true })
  expect(readRichText(crafted)).toBeNull()

  expect(merged).toBe(later)
  expect(integrated).not.toHaveBeenCalled()
  integrated.mockRestore()
})

test('what is merged is not loaded again to be compared', () => {
  const local = encodeBytes(textBy(1, 'milk'))
  const remote = encodeBytes(textBy(2, 'bread'))
  const merged = mergeRichTexts({ base: null, local, remote, isRemoteLater: true })
  const integrated = vi.spyOn(Y.Item.prototype, 'integrate')

  expect(readRichText(merged)).toBe('milkbread')

  expect(integrated).not.toHaveBeenCalled()
  integrated.mockRestore()
})

test('honest texts are far below the bound', () => {
  const random = randomFrom(7)
  const texts = {
    'a long text typed by 50 at once': writtenAtOnce({ clients: 50, rounds: 4, edits: 5 }, (text) =>
      Math.floor(random() * (text.length + 1)),
    ),
    'a list that 20 lengthen at its start at once': writtenAtOnce(
      { clients: 20, rounds: 6, edits: 4 },
      () => 0,
    ),
    'a long list that grew at its start': grownAtStart(10_000),
    'one place at which 500 devices typed': typedAtOnePlace(500),
  }

  for (const [name, update] of Object.entries(texts)) {
    expect(itemCountOf(update), name).toBeGreaterThan(UNCOUNTED_ITEMS) // so that scans are counted
    expect(() => loadDocument(Y, [update], MAX_SCANNED_ITEMS / 10), name).not.toThrow()
    const plain = new Y.Doc()
    Y.applyUpdate(plain, update)
    expect(readRichTextBytes(update), name).toBe(plain.getText('content').toString())
  }
})

/** One character by each of so many clients, behind one that is not there. */
function itemsOverGap(count: number): Uint8Array {
  const items = countedDown(count, (client) => [
    ...uints(1, client, 0),
    STRING | WITH_LEFT_ORIGIN,
    ...uints(BASE_CLIENT, client),
    ...text('a'),
  ])
  return Uint8Array.from([...uints(count), ...items, 0])
}

function textBy(clientID: number, content: string): Uint8Array {
  const document = new Y.Doc()
  document.clientID = clientID
  document.getText('content').insert(0, content)
  return Y.encodeStateAsUpdate(document)
}

/** In each round all clients edit without seeing each other, and then exchange what they have. */
function writtenAtOnce(
  { clients, rounds, edits }: { clients: number; rounds: number; edits: number },
  place: (text: Y.Text) => number,
): Uint8Array {
  const documents = Array.from({ length: clients }, (_, index) => {
    const document = new Y.Doc()
    document.clientID = (index * 7919) % 1009
    return document
  })
  for (let round = 0; round < rounds; round++) {
    for (const document of documents) {
      const content = document.getText('content')
      for (let edit = 0; edit < edits; edit++) content.insert(place(content), `word${edit} `)
      if (content.length > 9) content.delete(place(content) % (content.length - 3), 2)
    }
    const all = Y.mergeUpdates(documents.map((document) => Y.encodeStateAsUpdate(document)))
    for (const document of documents) Y.applyUpdate(document, all)
  }
  return Y.encodeStateAsUpdate(documents[0] as Y.Doc) // there is one
}

function grownAtStart(edits: number): Uint8Array {
  const document = new Y.Doc()
  for (let edit = 0; edit < edits; edit++) document.getText('content').insert(0, `${edit} `)
  return Y.encodeStateAsUpdate(document)
}

/** Formats that are closed where they begin: what Yjs tidies. */
function withRedundantFormats(base: Uint8Array, count: number): Uint8Array {
  const document = new Y.Doc()
  document.clientID = 7
  Y.applyUpdate(document, base)
  const body = document.getMap('fields').get('body') as Y.Text
  document.transact((transaction) => {
    let left: Y.Item | null = null
    const add = (content: Y.ContentFormat | Y.ContentString): void => {
      const id = Y.createID(7, Y.getState(document.store, 7))
      const item: Y.Item = new Y.Item(id, left, left?.lastId ?? null, null, null, body, null, content)
      item.integrate(transaction, 0)
      left = item
    }
    for (let i = 0; i < count; i++) {
      add(new Y.ContentFormat('bold', true as never))
      add(new Y.ContentFormat('bold', null as never))
      add(new Y.ContentString('x'))
    }
  })
  return Y.encodeStateAsUpdate(document)
}

function deletedItemsOf(document: Y.Doc): number {
  return [...Y.createDeleteSetFromStructStore(document.store).clients.values()].flat().length
}

function typedAtOnePlace(devices: number): Uint8Array {
  const base = textBy(BASE_CLIENT, 'milk and bread')
  const updates = Array.from({ length: devices }, (_, index) => {
    const document = new Y.Doc()
    document.clientID = index + 1
    Y.applyUpdate(document, base)
    document.getText('content').insert(4, `x${index}`)
    return Y.encodeStateAsUpdate(document)
  })
  return Y.mergeUpdates([base, ...updates])
}

function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}
