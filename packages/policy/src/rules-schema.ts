import { ClarityError, said, validate } from "@clarity-runtime/contracts"
import * as v from "valibot"

/**
 * The rules file, `clarity.policy/v1`: `.clarity/policy.json`. Types, validation and `schemas/policy.schema.json` come
 * from here. Unknown keys are refused, so that a typing mistake never becomes a hole.
 */

const count = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max))
const oneHour = 3_600_000
const mebibyte = 1_048_576

const pattern = v.pipe(v.string(), v.minLength(1), v.maxLength(512))
const patterns = (words: string) => v.optional(said(words, v.pipe(v.array(pattern), v.maxLength(1024))))
const name = v.optional(
  said("Shown where it decides; absent: its kind and number.", v.pipe(v.string(), v.minLength(1), v.maxLength(128))),
)

const principals = patterns("Principals by id, `*` for any run of characters: `token:ci`, `user:*`, `local`.")
const services = patterns("Services by namespace or id.")
const tools = patterns("Tools by the service's own names. With this, only tools match.")

const hints = v.strictObject({
  readOnly: v.optional(v.boolean()),
  destructive: v.optional(v.boolean()),
  idempotent: v.optional(v.boolean()),
  openWorld: v.optional(v.boolean()),
})

const rule = v.pipe(
  v.strictObject({
    name,
    effect: said("'deny' beats 'ask' beats 'allow', wherever they stand.", v.picklist(["allow", "ask", "deny"])),
    principals,
    services,
    tools,
    prompts: patterns("Prompts by the service's own names. With this, only prompts match."),
    resources: patterns("Resources by the service's own URIs. With this, only resources match."),
    methods: patterns("MCP methods: `tools/call`, `resources/*`."),
    policyRefs: patterns("The `policyRef` of the service's manifest."),
    annotations: v.optional(
      said(
        "Hints of the tool as its service declared them (MCP's defaults where it is silent). All given ones must agree; only tools match.",
        hints,
      ),
    ),
    listed: v.optional(
      said(
        "A denied tool stays in lists and says why it is refused; else it looks like one that does not exist.",
        v.boolean(),
      ),
    ),
    approvers: v.optional(
      said(
        "Who may say yes to an 'ask': the caller's own person, an operator, or both (default).",
        v.pipe(v.array(v.picklist(["client", "operator"])), v.minLength(1), v.maxLength(2)),
      ),
    ),
    reason: v.optional(
      said("Shown to whoever is refused or asked.", v.pipe(v.string(), v.minLength(1), v.maxLength(512))),
    ),
  }),
  v.check(
    (given) => given.effect !== "allow" || given.annotations === undefined || (given.services?.length ?? 0) > 0,
    "must name its services: annotations are the service's own claim, and alone they open nothing",
  ),
  v.check(
    (given) => given.effect === "ask" || given.approvers === undefined,
    "must have the effect 'ask' to have approvers",
  ),
  v.check((given) => given.effect === "deny" || given.listed === undefined, "must have the effect 'deny' to be listed"),
)

const rate = v.strictObject({
  name,
  principals,
  services,
  tools,
  calls: said("So many calls, all at once if they like,", count(1, 1_000_000)),
  perSeconds: said("come back over so many seconds.", count(1, 86_400)),
  per: v.optional(
    said("Who shares one allowance.", v.picklist(["principal", "service", "principal+service"])),
    "principal",
  ),
})

const budget = v.pipe(
  v.strictObject({
    name,
    principals,
    services,
    per: v.optional(
      said("Who shares one budget: the calls of one run, or of one principal.", v.picklist(["run", "principal"])),
      "run",
    ),
    windowSeconds: v.optional(
      said("The budget begins anew after so many seconds; a run's may be for good.", count(1, 2_592_000)),
    ),
    calls: v.optional(count(1, 1_000_000_000)),
    bytes: v.optional(said("Bytes of requests and answers.", count(1, Number.MAX_SAFE_INTEGER))),
    tokens: v.optional(
      said("Tokens, where the service states them in the answer's `_meta`.", count(1, Number.MAX_SAFE_INTEGER)),
    ),
    seconds: v.optional(said("Time spent in calls.", count(1, 86_400_000))),
    usd: v.optional(
      said(
        "Money, where the service states its model and `prices` has it; other calls cost nothing here.",
        v.pipe(v.number(), v.minValue(0.000_001), v.maxValue(1_000_000_000)),
      ),
    ),
  }),
  v.check(
    ({ calls, bytes, tokens, seconds, usd }) =>
      [calls, bytes, tokens, seconds, usd].some((bound) => bound !== undefined),
    "must bound calls, bytes, tokens, seconds or usd",
  ),
  v.check(
    ({ per, windowSeconds }) => per === "run" || windowSeconds !== undefined,
    "must have windowSeconds: a principal never ends",
  ),
)

const usdPerMillion = v.pipe(v.number(), v.minValue(0), v.maxValue(1_000_000))

const prices = v.pipe(
  v.record(
    v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
    v.strictObject({
      input: said("USD per million tokens in.", usdPerMillion),
      output: said("USD per million tokens out.", usdPerMillion),
    }),
  ),
  v.check((given) => Object.keys(given).length <= 1024, "must not have more than 1024 models"),
)

const cap = v.strictObject({
  services,
  timeoutMs: v.optional(said("Longest silence of a call in milliseconds.", count(1, oneHour))),
  totalMs: v.optional(said("Longest call in all, in milliseconds.", count(1, oneHour))),
  maxPayloadBytes: v.optional(said("Bytes of one request.", count(1024, 64 * mebibyte))),
  maxResultBytes: v.optional(said("Bytes of one answer.", count(1024, 64 * mebibyte))),
  maxConcurrency: v.optional(said("Calls at one service at once; more wait.", count(1, 1024))),
})

/** When a service's circuit opens, and for how long. What is not said follows from the daemon's settings. */
export const circuitEntries = {
  consecutive: v.optional(said("Failures of the service in a row that open its circuit. Default: 5.", count(1, 1000))),
  windowSeconds: v.optional(said("Default: 60.", count(1, 3600))),
  minCalls: v.optional(said("Calls in the window before the error rate counts. Default: 8.", count(1, 100_000))),
  errorRate: v.optional(said("Default: 0.6.", v.pipe(v.number(), v.minValue(0.01), v.maxValue(1)))),
  openSeconds: v.optional(
    said("How long it stays open the first time; longer every time after. Default: 30.", count(1, 3600)),
  ),
}
const circuit = v.strictObject(circuitEntries)

const file = v.strictObject({
  $schema: v.optional(v.string()),
  apiVersion: v.literal("clarity.policy/v1"),
  default: v.optional(said("What holds where no rule matches.", v.picklist(["allow", "ask", "deny"])), "allow"),
  rules: v.optional(v.pipe(v.array(rule), v.maxLength(1024)), []),
  rates: v.optional(v.pipe(v.array(rate), v.maxLength(256)), []),
  budgets: v.optional(v.pipe(v.array(budget), v.maxLength(256)), []),
  prices: v.optional(said("What models cost, by the name their services give them; for budgets in `usd`.", prices), {}),
  limits: v.optional(
    said(
      "Caps that no manifest can lift; of all that match, the lowest holds.",
      v.pipe(v.array(cap), v.maxLength(256)),
    ),
    [],
  ),
  circuit: v.optional(circuit, {}),
  approvals: v.optional(
    v.strictObject({
      expirySeconds: v.optional(said("How long a question may be answered, and a yes be used.", count(5, 86_400)), 600),
    }),
    {},
  ),
  pin: v.optional(
    said(
      "Services whose tools stay as they were first seen until an operator approves what changed.",
      v.pipe(v.array(pattern), v.maxLength(1024)),
    ),
    [],
  ),
})

export const rulesFileSchema = v.pipe(
  file,
  v.check(
    (given) => given.budgets.every(({ usd }) => usd === undefined) || Object.keys(given.prices).length > 0,
    "a budget in usd needs `prices`: without them nothing would ever be charged",
  ),
)

type Written = v.InferOutput<typeof rulesFileSchema>
type Named<T> = Omit<T, "name"> & { readonly name: string }

export type Rule = Named<Written["rules"][number]>
/** So many calls per so many seconds, as a bucket that refills evenly. Same name and figures: the same rule. */
export type RateRule = Named<Written["rates"][number]>
/** What one run or principal may use up in all. */
export type BudgetRule = Named<Written["budgets"][number]>
export type CapRule = Written["limits"][number]
export interface CircuitRule {
  readonly consecutive: number
  readonly windowSeconds: number
  readonly minCalls: number
  readonly errorRate: number
  readonly openSeconds: number
}
/** What a rules file, or the daemon, says of it. */
export type CircuitWish = Written["circuit"]
/** USD per million tokens, by model. */
export type Prices = Written["prices"]

/** A rules file with every default filled in and every rule named. */
export interface RulesFile extends Omit<Written, "rules" | "rates" | "budgets" | "$schema"> {
  readonly rules: readonly Rule[]
  readonly rates: readonly RateRule[]
  readonly budgets: readonly BudgetRule[]
}

/** Throws ClarityError (`config_error`) naming `what` and the places that are wrong. */
export function parseRules(input: unknown, what = "the rules"): RulesFile {
  const { $schema: _, rules, rates, budgets, ...rest } = validate(rulesFileSchema, input, "config_error", what)
  const named = { rules: nameAll(rules, "rule"), rates: nameAll(rates, "rate"), budgets: nameAll(budgets, "budget") }
  for (const [list, items] of Object.entries(named)) {
    const twin = items.find((item, at) => items.findIndex((other) => other.name === item.name) !== at)
    if (twin !== undefined) throw new ClarityError("config_error", `${what}: two ${list} are named '${twin.name}'`)
  }
  return { ...rest, ...named }
}

/** Numbers count from 1, as a person counts. */
function nameAll<T extends { readonly name?: string | undefined }>(list: readonly T[], kind: string): Named<T>[] {
  return list.map((item, at) => ({ ...item, name: item.name ?? `${kind} ${at + 1}` }))
}

/** What holds where there is no file: everything is allowed within the limits. */
export const noRules: RulesFile = parseRules({ apiVersion: "clarity.policy/v1" })
