import type { Operation } from '../core/operation.ts'

/*
 * `operationToWireJson` writes an operation's identity first and in a fixed order:
 *
 *   {"id":"<64 hex>","nodeId":"…","type":"…","collection":"…","recordId":"…","data":…
 *
 * so a reader of many stored texts finds it without parsing them. The search for a property's name cannot stop
 * inside a value, where quotes are escaped.
 */

const ID_START = '{"id":"'.length
const ID_END = ID_START + 64
const NODE_ID_START = ID_END + '","nodeId":'.length
const RECORD_ID = '"recordId":"'

/** The id of the operation with this wire JSON. */
export function operationIdOf(wireJson: string): string {
  return wireJson.slice(ID_START, ID_END)
}

/** The node id of the operation with this wire JSON, as JSON writes it. */
export function nodeIdJsonOf(wireJson: string): string {
  return wireJson.slice(NODE_ID_START, wireJson.indexOf(',"type":', NODE_ID_START))
}

/**
 * The record id of the operation with this wire JSON.
 *
 * @param namesLength of its node id and collection together, if known: the search begins after them
 * @throws Error when the text is not wire JSON
 */
export function recordIdOf(wireJson: string, namesLength = 0): string {
  const found = wireJson.indexOf(RECORD_ID, ID_END + namesLength)
  const start = found + RECORD_ID.length
  const end = wireJson.indexOf('"', start)
  if (found < 0 || end < 0) throw new Error('The text of an operation has no recordId')
  const text = wireJson.slice(start, end)
  return text.includes('\\') ? operationOfWireJson(wireJson).recordId : text
}

/**
 * Parses wire JSON into its operation.
 *
 * @param wireJson made by `operationToWireJson`, so that it needs no checks
 */
export function operationOfWireJson(wireJson: string): Operation {
  return JSON.parse(wireJson) as Operation // made from an operation, as above
}
