import type { FieldValues, JsonValue, Operation } from '../../src/core/operation.ts'
import { OF_A, OF_B } from './canary.ts'
import { OperationAuthor, recordIdOf, withId } from './operation-author.ts'

/** What a foreign tenant has found out about the operations of its victim, and its own records. */
export interface Knowledge {
  /** Operations of the victim whose ids it knows, those of their records included. */
  readonly operations: readonly Operation[]
  /** What one of its records refers to. */
  readonly blobHash: string
  /** The node that the forger is connected as. */
  readonly nodeId: string
  readonly random: () => number
}

export interface Forgery {
  readonly operation: Operation
  /** False when it touches nothing but a record of the forger's own. */
  readonly mustBeRefused: boolean
  /** The same, aimed at a record that nobody has: it must be answered alike. */
  readonly twin: Operation | null
}

const OWN_NOTE = recordIdOf('note of mallory')
const OWN_TODO = recordIdOf('todo of mallory')

/** Records of the forger's own, which some attempts presuppose: rules of the schema hold for them, too. */
export function recordsOfForger(nodeId: string): Operation[] {
  const author = new OperationAuthor(nodeId)
  return [
    author.insert(OWN_NOTE, { ...OF_B, title: 'note' }, { collection: 'notes' }),
    author.insert(OWN_TODO, {
      ...OF_B,
      title: 'todo',
      slug: 'taken',
      room: 'full',
      noteId: OWN_NOTE,
      stage: 'open',
    }),
    author.insert(recordIdOf('second todo of mallory'), { ...OF_B, title: 'todo', room: 'full' }),
  ]
}

/** One attempt: to change what is the victim's, or to be told of it. */
export function forge(knowledge: Knowledge, count: number): Forgery {
  const choice = knowledge.random()
  if (choice < 0.05) return claim(knowledge, count)
  return choice < 0.7 ? takeOver(knowledge, count) : provoke(knowledge, count)
}

/** A record of its own that refers to the victim's blob, under any node: it may be stored, and gives nothing. */
function claim({ blobHash, nodeId: ownNode, random }: Knowledge, count: number): Forgery {
  const nodeId = pick([ownNode, 'alice', 'server-node'], random)
  const author = new OperationAuthor(nodeId, 1_755_000_000_000 + count)
  const file = { hash: blobHash, size: 1 }
  const operation = author.insert(recordIdOf(`claim ${count}`), { ...OF_B, title: `b${count}`, file })
  return { operation, mustBeRefused: false, twin: null }
}

/** An operation on a record of the victim, with whatever it says about its author and the past. */
function takeOver({ operations, nodeId: ownNode, random }: Knowledge, count: number): Forgery {
  const victim = pick(operations, random)
  const title = { title: `b${count}` }
  const values: readonly FieldValues[] = [
    title,
    { ...title, ...OF_A },
    { ...title, ...OF_B },
    { ...title, tenant: null },
    OF_B,
    { ...title, tenant: ['b'] as JsonValue },
    { stage: 'done' },
    { ...title, ...OF_B, slug: `s${count}`, noteId: null },
  ]
  const type = pick(['insert', 'update', 'delete'] as const, random)
  const nodeId = pick([ownNode, ownNode, 'alice', 'server-node'], random)
  const wallTime = pick([1, 1_750_000_000_000 + count, 1_760_000_000_000], random)
  const previous = pick([null, { tenant: 'b' }, { tenant: 'b', title: 'x' }], random)
  const collection = pick([victim.collection, victim.collection, 'todos', 'notes'], random)
  const draft: Operation = {
    id: '',
    nodeId,
    type,
    collection,
    recordId: victim.recordId,
    data: type === 'delete' ? null : pick(values, random),
    previousData: type === 'insert' ? null : previous,
    timestamp: { wallTime, logical: 0, nodeId },
    sequenceNumber: pick([count + 1, 2 ** 53 - 1, 1], random),
    causalDeps: random() < 0.2 ? [victim.id] : [],
    schemaVersion: 1,
  }
  if (random() < 0.2) return { operation: { ...draft, id: victim.id }, mustBeRefused: true, twin: null }
  const mustBeRefused = collection === victim.collection // in the other one the id is free
  const twin = mustBeRefused && random() < 0.15 ? withId({ ...draft, recordId: nobodysRecord(count) }) : null
  return { operation: withId(draft), mustBeRefused, twin }
}

/** An operation on a record of its own, of which rules of the schema may tell something. */
function provoke({ operations, nodeId, random }: Knowledge, count: number): Forgery {
  const author = new OperationAuthor(nodeId, 1_755_000_000_000 + count)
  const note = pick(
    operations.filter(({ collection }) => collection === 'notes'),
    random,
  )
  const own = { ...OF_B, title: `b${count}` }
  const insert = (values: FieldValues): Operation =>
    author.insert(recordIdOf(`own ${count}`), { ...own, ...values })
  const update = (values: FieldValues): Operation => author.update(OWN_TODO, values)
  const attempts: readonly (readonly [Operation, Operation?])[] = [
    [insert({ noteId: note.recordId }), insert({ noteId: nobodysRecord(count) })],
    [update({ noteId: note.recordId }), update({ noteId: nobodysRecord(count) })],
    [insert({ pageId: note.recordId })],
    [update({ pageId: note.recordId })],
    [update({ stage: 'done' })],
    [insert({ slug: 'taken' })],
    [insert({ room: 'full' })],
    [insert({ tenant: 'a', slug: 'taken', room: 'full' })],
    [insert({ unknown: 1 })],
    [author.delete(OWN_NOTE, { collection: 'notes' })],
  ]
  const [operation, twin = null] = pick(attempts, random)
  return { operation, mustBeRefused: true, twin }
}

function nobodysRecord(count: number): string {
  return recordIdOf(`nobody ${count}`)
}

function pick<Item>(items: readonly Item[], random: () => number): Item {
  return items[Math.floor(random() * items.length)] as Item // random is below 1
}
