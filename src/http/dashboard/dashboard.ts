import type { FastifyInstance } from 'fastify'
import { type DataRoutesOptions, mountDataRoutes } from './data-routes.ts'
import { mountPageRoutes } from './page-routes.ts'

/**
 * The dashboard for operators at `/__kora`: a page, its files, and the data that it reads. The live
 * numbers come through the events of the operations endpoints.
 *
 * @see docs/dashboard.md
 */
export function mountDashboard(app: FastifyInstance, prefix: string, options: DataRoutesOptions): void {
  mountPageRoutes(app, prefix, options.access)
  mountDataRoutes(app, `${prefix}/api`, options)
}
