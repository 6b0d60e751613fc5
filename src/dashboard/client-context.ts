import { createContext } from 'preact'
import { ApiClient } from './api-client.ts'

/** How the parts of the page ask the server. */
export const ClientContext = createContext(new ApiClient(null))
