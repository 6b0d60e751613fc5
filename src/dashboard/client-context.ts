import { createContext } from 'preact'
import { ApiClient } from './api-client.ts'

/** The client through which the parts of the page reach the server. */
export const ClientContext = createContext(new ApiClient(null))
