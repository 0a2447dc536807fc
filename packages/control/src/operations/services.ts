import { ClarityError } from "@clarity-runtime/contracts"
import * as v from "valibot"
import { matching, newestFirst, requireService } from "../match.ts"
import { defineOperation, reads } from "../operation.ts"
import { cursor, limit, nothing, oneService, text } from "../shapes/input.ts"
import { interfaceShape, listAnswer, serviceAnswer, statusAnswer } from "../shapes/output.ts"
import { interfaceAnswerOf, iso, known, serviceOf, summaryOf } from "../shapes/present.ts"
import { countServices } from "../shapes/count-services.ts"
import type { ControlContext } from "../context.ts"

/** The reading operations on services. `toolNames` tells the status what the runtime itself offers. */
export function readingServices(
  toolNames: (context: ControlContext) => readonly { readonly name: string; readonly description: string }[],
) {
  return {
    status: defineOperation({
      title: "Status",
      summary: "The runtime and every service: versions, counts by state and health, what needs attention.",
      input: nothing,
      output: statusAnswer,
      scope: "read",
      route: "status",
      tool: { name: "status_summary", annotations: reads },
      run(context) {
        const info = context.info()
        const now = context.clock.now()
        const services = newestFirst(context).map((record) => summaryOf(known(context, record)))
        const tools = toolNames(context)
        return {
          runtime: {
            version: info.version,
            pid: info.pid,
            startedAt: iso(info.startedAt),
            uptimeSeconds: Math.max(0, Math.floor((now - info.startedAt) / 1000)),
          },
          gateway: { listen: info.listen, mcpPath: info.mcpPath, healthy: true },
          systemTools: {
            count: tools.length,
            items: tools.map(({ name }) => name),
            runtime: { count: tools.length, items: [...tools] },
          },
          summary: countServices(services),
          services,
          notices: [...info.notices],
          lastUpdated: iso(now),
        }
      },
    }),

    listServices: defineOperation({
      title: "List services",
      summary: "The registered services with state, health and size of interface, newest first.",
      input: v.strictObject({
        match: v.optional(
          v.pipe(text(256), v.description("Only the services meant by this id, name, or beginning of one.")),
        ),
        limit: limit(2000),
        cursor,
      }),
      output: listAnswer,
      scope: "read",
      route: "listServices",
      tool: { name: "list_services", annotations: reads },
      run(context, input) {
        const all = newestFirst(context).map((record) => known(context, record))
        const services = input.match === undefined ? all : matching(all, input.match)
        const start = input.cursor === undefined ? 0 : after(services, input.cursor)
        const page = services.slice(start, start + input.limit)
        const last = page.at(-1)
        const more = last !== undefined && start + page.length < services.length
        return {
          items: page.map(summaryOf),
          total: services.length,
          nextCursor: more ? `${last.record.createdAt}.${last.record.id}` : null,
        }
      },
    }),

    getService: defineOperation({
      title: "Get service",
      summary: "One service: its manifest, without the values of variables, and how it runs.",
      input: oneService,
      output: serviceAnswer,
      scope: "read",
      route: "getService",
      tool: { name: "get_service", annotations: reads },
      run: (context, { id }) => ({ service: serviceOf(requireService(context, id)) }),
    }),

    getInterface: defineOperation({
      title: "Get interface",
      summary: "What one service offers: tools, resources, prompts, as it said itself.",
      input: oneService,
      output: interfaceShape,
      scope: "read",
      route: "getInterface",
      run: (context, { id }) => interfaceAnswerOf(requireService(context, id)),
    }),
  }
}

/** Where the page after a cursor begins; the service it names may be gone by now. */
function after(services: readonly { record: { id: string; createdAt: number } }[], cursor: string): number {
  const [, at, id] = /^(\d{1,16})\.(.+)$/.exec(cursor) ?? []
  if (at === undefined || id === undefined)
    throw new ClarityError("invalid_params", "cursor is not one that was given out")
  const same = services.findIndex(({ record }) => record.id === id)
  if (same >= 0) return same + 1
  const older = services.findIndex(({ record }) => record.createdAt < Number(at))
  return older < 0 ? services.length : older
}
