import {
  ClarityError,
  parseManifest,
  validate,
  type Explanation,
  type Interface,
  type JudgedService,
  type PolicyCase,
  type PolicyCaseResult,
  type PolicyTestReport,
  type Principal,
  type Scope,
} from "@clarity-runtime/contracts"
import * as v from "valibot"
import { caseOf, explain, type Grounds } from "./judge.ts"
import { boundsFrom, type ServiceBounds } from "./limits.ts"
import { methodOf } from "./matching.ts"
import { createRuleSet } from "./rule-set.ts"
import { parseRules } from "./rules-schema.ts"

const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max))

const caseSchema = v.pipe(
  v.strictObject({
    principal: v.strictObject({
      id: text(256),
      scopes: v.optional(v.pipe(v.array(v.picklist(["read", "call", "operate", "admin"])), v.maxLength(4))),
      reach: v.optional(v.pipe(v.array(text(512)), v.maxLength(256))),
    }),
    service: text(256),
    method: v.optional(text(128)),
    tool: v.optional(text(256)),
    prompt: v.optional(text(256)),
    resource: v.optional(text(8192)),
    annotations: v.optional(v.record(v.string(), v.unknown())),
    expect: v.picklist(["allow", "ask", "deny"]),
    rule: v.optional(text(128)),
    visible: v.optional(v.boolean()),
  }),
  v.check(
    ({ tool, prompt, resource }) => [tool, prompt, resource].filter((one) => one !== undefined).length === 1,
    "must name one tool, prompt or resource",
  ),
)

const casesSchema = v.pipe(v.array(caseSchema), v.minLength(1), v.maxLength(10_000))

interface Surroundings {
  readonly services: readonly JudgedService[]
  readonly grounds: Grounds
  readonly boundsOf: (service: JudgedService) => ServiceBounds
}

/**
 * Holds expected decisions against rules, without a daemon: services are taken for ones of the given names.
 * Throws `config_error` for wrong rules, `invalid_params` for wrong cases.
 */
export function testRules(rules: unknown, cases: unknown): PolicyTestReport {
  const grounds: Grounds = {
    rules: createRuleSet(parseRules(rules)),
    pins: { strange: () => undefined },
    principals: true,
  }
  const bounds = boundsFrom({})
  return tryCases({ cases }, { services: [], grounds, boundsOf: (service) => bounds.of(service, grounds.rules.capsOf) })
}

/** The same among services that are known, against the rules in force or others. Throws `invalid_params`. */
export function tryCases(
  input: { readonly cases: unknown; readonly rules?: unknown },
  around: Surroundings,
): PolicyTestReport {
  const cases: PolicyCase[] = validate(casesSchema, input.cases, "invalid_params", "the cases") as PolicyCase[]
  const grounds = input.rules === undefined ? around.grounds : { ...around.grounds, rules: otherRules(input.rules) }
  const results = cases.map((one) => tryCase(one, { ...around, grounds }))
  const passed = results.filter((result) => result.passed).length
  return { passed, failed: results.length - passed, version: grounds.rules.version, results }
}

function otherRules(rules: unknown): Grounds["rules"] {
  try {
    return createRuleSet(parseRules(rules, "the rules to try"))
  } catch (thrown) {
    if (!(thrown instanceof ClarityError)) throw thrown
    throw new ClarityError("invalid_params", thrown.message, { data: thrown.data, cause: thrown })
  }
}

function tryCase(one: PolicyCase, { services, grounds, boundsOf }: Surroundings): PolicyCaseResult {
  const kind = one.tool !== undefined ? "tool" : one.prompt !== undefined ? "prompt" : "resource"
  const target = one.tool ?? one.prompt ?? one.resource ?? ""
  const known = services.find(({ namespace, id }) => namespace === one.service || id === one.service)
  const service = declaring(known ?? madeUp(one.service), kind === "tool" ? target : undefined, one.annotations)
  const principal: Principal = {
    id: one.principal.id,
    kind: "token",
    scopes: one.principal.scopes ?? (["read", "call"] satisfies Scope[]),
    ...(one.principal.reach === undefined ? {} : { reach: one.principal.reach }),
  }
  const got = explain(
    grounds,
    caseOf({ principal, service, method: one.method ?? methodOf[kind], target }, boundsOf(service)),
  )
  const problem = problemOf(one, got)
  return {
    name: `${principal.id} ${one.service}/${target}`,
    passed: problem === undefined,
    ...(problem === undefined ? {} : { problem }),
    got,
  }
}

function problemOf({ expect, rule, visible }: PolicyCase, got: Explanation): string | undefined {
  if (got.effect !== expect) return `expected ${expect}, got ${got.effect}: ${got.reason}`
  if (rule !== undefined && got.rule !== rule)
    return `expected rule '${rule}' to decide, but ${got.rule === undefined ? "no rule did" : `rule '${got.rule}' did`}`
  if (visible !== undefined && got.visible !== visible)
    return `expected it to be ${visible ? "listed" : "hidden"}, and it is not`
  return undefined
}

/** The service as if its tool declared these annotations. */
function declaring(
  service: JudgedService,
  tool: string | undefined,
  annotations: PolicyCase["annotations"],
): JudgedService {
  if (annotations === undefined || tool === undefined) return service
  const face: Interface = service.interface ?? {
    tools: [],
    resources: [],
    resourceTemplates: [],
    prompts: [],
    capabilities: {},
  }
  const others = face.tools.filter(({ name }) => name !== tool)
  return { ...service, interface: { ...face, tools: [...others, { name: tool, annotations }] } }
}

function madeUp(name: string): JudgedService {
  const origin = { type: "local_stdio", command: "none" }
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "", module: name },
    spec: { origin },
  })
  return { id: name, namespace: name, manifest }
}
