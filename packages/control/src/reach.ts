import {
  ClarityError,
  namespaceOf,
  reaches,
  type EventQuery,
  type Interface,
  type PendingApproval,
  type Principal,
  type RecordedEvent,
  type ServiceRecord,
  type ServiceStatus,
  type Timeline,
} from "@clarity-runtime/contracts"
import type { ControlContext } from "./context.ts"
import { requireService } from "./match.ts"
import type { Operation } from "./operation.ts"
import { controlNamespace, runtimeDefinition } from "./runtime-service.ts"
import { serviceId } from "./shapes/input.ts"

/** A name no tool has: only who reaches all of a service reaches it. */
const everyTool = "\0"

/**
 * The runtime as this caller may see it: services out of its reach are not there, nor is what happened to them or what
 * concerns the runtime as a whole. Who reaches only some tools of a service sees those, and neither its log nor its
 * events. A caller of unlimited reach gets the context itself.
 */
export function viewFor(context: ControlContext, principal: Principal): ControlContext {
  if (principal.reach === undefined) return context
  const { registry, supervision, timeline, policy, bindings, logins } = context
  const spaceOf = (record: ServiceRecord) => supervision.status(record.id)?.namespace ?? namespaceOf(record.manifest)
  const spaceOfId = (id: string) => {
    if (id === runtimeDefinition().id) return controlNamespace
    const record = registry.snapshot().services.get(id)
    return record === undefined ? undefined : spaceOf(record)
  }
  const seesAll = (id: string) => {
    const namespace = spaceOfId(id)
    return namespace !== undefined && reaches(principal, namespace, everyTool)
  }
  function shownStatus(status: ServiceStatus | undefined): ServiceStatus | undefined {
    if (status === undefined || !reaches(principal, status.namespace)) return undefined
    const { interface: all, ...rest } = status
    const shown = face(status.id, all)
    return shown === undefined ? rest : { ...rest, interface: shown }
  }
  const face = (id: string, all: Interface | undefined) =>
    all === undefined || seesAll(id) ? all : reachedOf(all, (tool) => reaches(principal, spaceOfId(id) ?? "", tool))

  return {
    ...context,
    whole: context,
    info: () => ({ ...context.info(), notices: [] }),
    timeline: timelineFor(timeline, ({ serviceId: id }) => id !== undefined && seesAll(id), seesAll),
    registry: over(registry, {
      snapshot() {
        const { generation, services } = registry.snapshot()
        const seen = [...services].filter(([, record]) => reaches(principal, spaceOf(record)))
        return { generation, services: new Map(seen.map(([id, record]) => [id, seesAll(id) ? record : part(record)])) }
      },
      interfaceOf: (id) => face(id, registry.interfaceOf(id)),
    }),
    supervision: over(supervision, {
      status: (id) => shownStatus(supervision.status(id)),
      statuses: () => supervision.statuses().flatMap((status) => shownStatus(status) ?? []),
    }),
    ...(policy === undefined
      ? {}
      : {
          policy: over(policy, {
            circuits: () => policy.circuits().filter((circuit) => seesAll(circuit.serviceId)),
            approvals: () => policy.approvals().filter((approval) => concerns(principal, approval)),
            drifts: (service) =>
              policy.drifts(service).filter(({ tool }) => reaches(principal, service.namespace, tool)),
          }),
        }),
    ...(bindings === undefined
      ? {}
      : { bindings: over(bindings, { list: () => bindings.list().filter((each) => seesAll(each.serviceId)) }) }),
    ...(logins === undefined
      ? {}
      : {
          logins: over(logins, {
            list: () => logins.list().filter((each) => seesAll(each.serviceId)),
            get(id) {
              const login = logins.get(id)
              return login !== undefined && seesAll(login.serviceId) ? login : undefined
            },
          }),
        }),
  }

  function part(record: ServiceRecord): ServiceRecord {
    const { origin } = record.manifest.spec
    if (origin.type !== "remote_mcp" || origin.allowedTools === undefined) return record
    const allowedTools = origin.allowedTools.filter((tool) => reaches(principal, spaceOf(record), tool))
    const spec = { ...record.manifest.spec, origin: { ...origin, allowedTools } }
    return { ...record, manifest: { ...record.manifest, spec } }
  }
}

/**
 * Refuses what a caller of limited reach may not do at all: what concerns the whole runtime, and changing a service of
 * which it reaches only some tools. A service out of its reach is not found, like one that is not there. `view` is the
 * caller's. Throws ClarityError (`not_found`, `forbidden`).
 */
export function checkReach(
  view: ControlContext,
  operation: Operation,
  input: Readonly<Record<string, unknown>>,
  principal: Principal,
): void {
  if (principal.reach === undefined) return
  const { scope, reach = usualReach(operation) } = operation
  if (reach === "unlimited") throw beyond(`${principal.id} reaches only some services, and this concerns all of them`)
  if (!namesService(operation)) return
  const { record, status } = requireService(view, String(input["id"]))
  const namespace = status?.namespace ?? namespaceOf(record.manifest)
  if (scope === "read" || reaches(principal, namespace, everyTool)) return
  throw beyond(`${principal.id} reaches only some tools of ${namespace}, and this concerns the whole service`)
}

/** The operation is about the one service its `id` names. */
export function namesService({ input }: Operation): boolean {
  return input.entries["id"] === serviceId
}

function usualReach(operation: Operation): "view" | "unlimited" {
  return operation.scope === "read" || namesService(operation) ? "view" : "unlimited"
}

function beyond(message: string): ClarityError {
  return new ClarityError("forbidden", message, { data: { reason: "reach" } })
}

function concerns(principal: Principal, { service, method, target }: PendingApproval): boolean {
  return reaches(principal, service, method === "tools/call" ? target : everyTool)
}

/** Prompts, resources and words about the whole go with the whole service only. */
function reachedOf(
  { tools, capabilities, serverInfo, protocol }: Interface,
  sees: (tool: string) => boolean,
): Interface {
  return {
    tools: tools.filter(({ name }) => sees(name)),
    resources: [],
    resourceTemplates: [],
    prompts: [],
    capabilities,
    ...(serverInfo === undefined ? {} : { serverInfo }),
    ...(protocol === undefined ? {} : { protocol }),
  }
}

function timelineFor(
  timeline: Timeline,
  sees: (event: RecordedEvent) => boolean,
  seesLog: (id: string) => boolean,
): Timeline {
  return over(timeline, {
    events: (query) => eventsSeen(timeline, query, sees),
    logs: (id, limit) => (seesLog(id) ? timeline.logs(id, limit) : []),
    async *follow(signal) {
      for await (const event of timeline.follow(signal)) if (sees(event)) yield event
    },
    async *followLogs(id, signal) {
      for await (const line of timeline.followLogs(id, signal)) if (seesLog(id)) yield line
    },
  })
}

/** Reads on past what is hidden, so that a page is as long as one of a caller who sees everything. */
function eventsSeen(
  timeline: Timeline,
  query: EventQuery,
  sees: (event: RecordedEvent) => boolean,
): readonly RecordedEvent[] {
  const found: RecordedEvent[] = []
  let from = query.before
  for (;;) {
    const page = timeline.events({ ...query, limit: pageSize, ...(from === undefined ? {} : { before: from }) })
    found.push(...page.filter(sees))
    from = page.at(-1)?.seq
    if (from === undefined || page.length < pageSize || found.length >= query.limit) return found.slice(0, query.limit)
  }
}

const pageSize = 2000

/** The same thing, but for some of its members; the others still see the thing itself. */
function over<T extends object>(thing: T, changed: Partial<T>): T {
  return new Proxy(thing, {
    get(_, key) {
      if (Object.hasOwn(changed, key)) return Reflect.get(changed, key)
      const value: unknown = Reflect.get(thing, key)
      return typeof value === "function" ? value.bind(thing) : value
    },
  })
}
