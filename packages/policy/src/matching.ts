import {
  isJsonObject,
  namePattern,
  namespaceOf,
  type Interface,
  type JsonObject,
  type JudgedService,
  type Tool,
} from "@clarity-runtime/contracts"
import { plainPattern, plainUri } from "./uri-forms.ts"

/** What rules look at, in one call or one item of a list. */
export interface Subject {
  /** Id of the principal. */
  readonly principal: string
  readonly service: JudgedService
  readonly method: string
  readonly kind: Kind | undefined
  /** The service's own name or URI; absent for what has none. */
  readonly target: string | undefined
  /** Annotations of the tool, where the service's interface is not known; else they are read there. */
  readonly annotations?: JsonObject | undefined
}

export type Kind = "tool" | "prompt" | "resource"

/** The fields of a rule that say what it is about. Absent ones match everything. */
export interface Matchers {
  readonly principals?: readonly string[] | undefined
  readonly services?: readonly string[] | undefined
  readonly tools?: readonly string[] | undefined
  readonly prompts?: readonly string[] | undefined
  readonly resources?: readonly string[] | undefined
  readonly methods?: readonly string[] | undefined
  readonly policyRefs?: readonly string[] | undefined
  readonly annotations?: Hints | undefined
}

interface Hints {
  readonly readOnly?: boolean | undefined
  readonly destructive?: boolean | undefined
  readonly idempotent?: boolean | undefined
  readonly openWorld?: boolean | undefined
}

/** The first field that does not match, or undefined when all do. */
export type Matcher = (subject: Subject) => keyof Matchers | undefined

/**
 * `opens`: only the very names pass, a service by its namespace or id. `closes`: no other spelling gets round it, and
 * a service is met under every name it has, a tool under its exposed name too, a resource under every form of its URI.
 */
export function matcherOf(matchers: Matchers, how: "opens" | "closes"): Matcher {
  const checks: [keyof Matchers, (subject: Subject) => boolean][] = []
  const names = (patterns: readonly string[]) => namePattern(patterns, how === "opens" ? "exact" : "folded")
  const { principals, services, methods, policyRefs, annotations } = matchers
  if (principals !== undefined) {
    const test = names(principals)
    checks.push(["principals", ({ principal }) => test(principal)])
  }
  if (services !== undefined) {
    const test = names(services)
    checks.push(["services", ({ service }) => namesOfService(service, how).some(test)])
  }
  if (policyRefs !== undefined) {
    const test = names(policyRefs)
    checks.push(["policyRefs", ({ service }) => test(service.manifest.spec.policyRef)])
  }
  if (methods !== undefined) {
    const test = names(methods)
    checks.push(["methods", ({ method }) => test(method)])
  }
  const targets = { tool: matchers.tools, prompt: matchers.prompts, resource: matchers.resources }
  const given = (["tool", "prompt", "resource"] as const).filter((kind) => targets[kind] !== undefined)
  if (given.length > 0) {
    const tests = new Map(
      given.map((kind) => [kind, kind === "resource" ? uris(targets[kind] ?? [], how) : names(targets[kind] ?? [])]),
    )
    const field = `${given[0] as Kind}s` as const
    checks.push([
      field,
      ({ kind, target, service }) => {
        const test = kind === undefined || target === undefined ? undefined : tests.get(kind)
        if (test === undefined || target === undefined) return false
        return test(target) || (how === "closes" && kind !== "resource" && test(`${service.namespace}__${target}`))
      },
    ])
  }
  if (annotations !== undefined)
    checks.push(["annotations", (subject) => subject.kind === "tool" && agree(annotations, declaredBy(subject))])
  return (subject) => checks.find(([, test]) => !test(subject))?.[0]
}

/** As `namePattern`, for URIs: what opens does so for no URI that leads out of the pattern, what closes for every spelling. */
function uris(patterns: readonly string[], how: "opens" | "closes"): (uri: string) => boolean {
  const form = how === "opens" ? "exact" : "folded"
  const asWritten = namePattern(patterns, form)
  const plainly = namePattern(patterns.map(how === "opens" ? plainUri : plainPattern), form)
  return how === "opens"
    ? (uri) => asWritten(uri) && plainly(plainUri(uri))
    : (uri) => asWritten(uri) || plainly(plainUri(uri))
}

const closingNames = new WeakMap<JudgedService, readonly string[]>()

function namesOfService(service: JudgedService, how: "opens" | "closes"): readonly string[] {
  const { id, namespace, manifest } = service
  if (how === "opens") return [namespace, id]
  const known = closingNames.get(service)
  if (known !== undefined) return known
  const { module, displayName } = manifest.metadata
  const names = [namespace, id, namespaceOf(manifest), module, ...(displayName === undefined ? [] : [displayName])]
  closingNames.set(service, names)
  return names
}

function declaredBy({ service, target, annotations }: Subject): JsonObject | undefined {
  if (service.interface === undefined) return annotations
  const declared = toolsOf(service.interface).get(target ?? "")?.["annotations"]
  return isJsonObject(declared) ? declared : undefined
}

const toolsByName = new WeakMap<Interface, ReadonlyMap<string, Tool>>()

/** The tools of an interface by name; of twins the first, as everywhere. */
export function toolsOf(face: Interface): ReadonlyMap<string, Tool> {
  const known = toolsByName.get(face)
  if (known !== undefined) return known
  const tools = new Map<string, Tool>()
  for (const tool of face.tools) if (!tools.has(tool.name)) tools.set(tool.name, tool)
  toolsByName.set(face, tools)
  return tools
}

/** MCP, tool annotations: where a tool is silent it may change, destroy, and reach out. What only reads destroys nothing, unless it says so. */
function agree(wanted: Hints, declared: JsonObject | undefined): boolean {
  const said = (key: string, otherwise: boolean) => {
    const value = declared?.[key]
    return typeof value === "boolean" ? value : otherwise
  }
  const readOnly = said("readOnlyHint", false)
  const found: Required<Hints> = {
    readOnly,
    destructive: said("destructiveHint", !readOnly),
    idempotent: said("idempotentHint", false),
    openWorld: said("openWorldHint", true),
  }
  return (Object.keys(found) as (keyof Hints)[]).every((key) => wanted[key] === undefined || wanted[key] === found[key])
}

/** What a method is about; `completion/complete` is about the prompt of that name, else about a resource. */
export function kindOf(method: string, target: string | undefined, service: JudgedService): Kind | undefined {
  switch (method) {
    case "tools/call":
      return "tool"
    case "prompts/get":
      return "prompt"
    case "resources/read":
    case "resources/subscribe":
    case "resources/unsubscribe":
      return "resource"
    case "completion/complete":
      return service.interface?.prompts.some(({ name }) => name === target) === true ? "prompt" : "resource"
    default:
      return undefined
  }
}

/** The method by which an item of a list is used. */
export const methodOf = {
  tool: "tools/call",
  prompt: "prompts/get",
  resource: "resources/read",
} as const satisfies Record<Kind, string>
