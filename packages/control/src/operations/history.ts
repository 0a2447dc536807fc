import { ClarityError, type EventQuery, type RecordedEvent } from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { requireService } from "../match.ts"
import { defineOperation, reads } from "../operation.ts"
import { cursor, limit, serviceId, text } from "../shapes/input.ts"
import {
  auditReport,
  detailsAnswer,
  eventsAnswer,
  logsAnswer,
  serviceEventsAnswer,
  type EventAnswer,
} from "../shapes/output.ts"
import { interfaceAnswerOf, lineOf, serviceOf, summaryOf } from "../shapes/present.ts"

/** What happened: logs, events, audit. */
export const history = {
  getLogs: defineOperation({
    title: "Get logs",
    summary: "The last lines of one service's log, newest first.",
    input: v.strictObject({ id: serviceId, limit: limit(200) }),
    output: logsAnswer,
    scope: "read",
    route: "getLogs",
    tool: { name: "get_logs", annotations: reads },
    run(context, { id, limit: most }) {
      requireService(context, id)
      const items = context.timeline.logs(id, most)
      return { serviceId: id, lines: items.map(lineOf), items: [...items] }
    },
  }),

  getServiceEvents: defineOperation({
    title: "Get events",
    summary: "What happened to one service, newest first.",
    input: v.strictObject({ id: serviceId, limit: limit(200), cursor }),
    output: serviceEventsAnswer,
    scope: "read",
    route: "getServiceEvents",
    run(context, { id, limit: most, cursor: from }) {
      requireService(context, id)
      return { serviceId: id, ...page(context, { limit: most, serviceId: id, ...before(from) }) }
    },
  }),

  getDetails: defineOperation({
    title: "Get details",
    summary: "All about one service at once: state, interface, log, events, last calls.",
    input: v.strictObject({ id: serviceId, logLimit: limit(50), eventLimit: limit(100), callLimit: limit(20) }),
    output: detailsAnswer,
    scope: "read",
    route: "getDetails",
    run(context, { id, logLimit, eventLimit, callLimit }) {
      const service = requireService(context, id)
      const calls = context.timeline.events({ limit: callLimit, serviceId: id, kind: "mcp.tool_called" })
      return {
        serviceId: id,
        summary: summaryOf(service),
        service: serviceOf(service),
        interface: interfaceAnswerOf(service),
        logs: context.timeline.logs(id, logLimit).map(lineOf),
        events: context.timeline.events({ limit: eventLimit, serviceId: id }).map(eventOf),
        recentCalls: calls.map(({ at, message, data }) => ({ at, message, ...(data === undefined ? {} : { data }) })),
      }
    },
  }),

  getAudit: defineOperation({
    title: "Get audit",
    summary: "What happened in the whole runtime, newest first.",
    input: v.strictObject({
      limit: limit(200),
      cursor,
      before: v.optional(
        v.pipe(v.number(), v.integer(), v.minValue(0), v.description("Only events with a smaller `seq`.")),
      ),
      kind: v.optional(v.pipe(text(128), v.description("Only kinds that begin so, such as `service.`."))),
      serviceId: v.optional(serviceId),
    }),
    output: eventsAnswer,
    scope: "read",
    route: "getAudit",
    tool: { name: "get_audit", annotations: reads },
    run(context, input) {
      return page(context, {
        limit: input.limit,
        ...before(input.cursor),
        ...(input.before === undefined ? {} : { before: input.before }),
        ...(input.kind === undefined ? {} : { kind: input.kind }),
        ...(input.serviceId === undefined ? {} : { serviceId: input.serviceId }),
      })
    },
  }),

  verifyAudit: defineOperation({
    title: "Verify audit",
    summary: "Walks the chain of the durable audit and says whether anything was changed, removed or put in.",
    input: v.strictObject({
      expect: v.optional(
        v.pipe(
          v.string(),
          v.regex(
            /^\d{1,15}:[0-9a-f]{64}$/,
            "must be a number and a hash, as `last` of an earlier answer has them: 17:9c1f...",
          ),
          v.description("A record noted earlier, which must still be there: `<seq>:<hash>`."),
        ),
      ),
    }),
    output: auditReport,
    scope: "operate",
    route: "verifyAudit",
    async run({ audit }, { expect }, { signal }) {
      if (audit === undefined) throw new ClarityError("conflict", "this runtime keeps no durable audit")
      const [seq, hash = ""] = expect?.split(":") ?? []
      const { problems, ...report } = await audit.verify(
        seq === undefined ? {} : { expect: { seq: Number(seq), hash } },
        signal,
      )
      return { ...report, problems: [...problems] }
    },
  }),
}

function page(context: ControlContext, query: EventQuery): { items: EventAnswer[]; nextCursor: string | null } {
  const found = context.timeline.events(query)
  const last = found.at(-1)
  const more = last !== undefined && found.length === query.limit
  return { items: found.map(eventOf), nextCursor: more ? String(last.seq) : null }
}

/** The cursor of event lists is a `seq`; rubbish is as good as none, the first page. */
function before(cursorText: string | undefined): { before?: number } {
  const seq = Number(cursorText)
  return cursorText !== undefined && Number.isSafeInteger(seq) ? { before: seq } : {}
}

export function eventOf(event: RecordedEvent): EventAnswer {
  const { seq, at, kind, level, message, serviceId: id, data } = event
  return {
    seq,
    at,
    kind,
    level,
    message,
    ...(id === undefined ? {} : { serviceId: id }),
    ...(data === undefined ? {} : { data }),
  }
}
