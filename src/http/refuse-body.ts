import type { ServerResponse } from 'node:http'
import { answerJson } from './answer-json.ts'

/** Answers a request whose body is not read to its end, and closes its connection. */
export function refuseBody(response: ServerResponse, status: number, error: string): void {
  // Without a socket, an earlier request of the connection is still being answered.
  if (response.socket !== null && !response.headersSent) {
    response.setHeader('connection', 'close')
    answerJson(response, status, { error })
  }
  response.req.destroy()
}
