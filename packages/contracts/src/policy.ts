import type { CallLimits, ServiceDefinition } from "./backend.ts"
import type { Interface } from "./interface.ts"
import type { ClarityError } from "./errors.ts"
import type { JsonObject } from "./json.ts"
import type { Principal, Scope } from "./principal.ts"
import type { ModelUsage } from "./usage.ts"

/** All a decision about one call may depend on. */
export interface AdmissionInput {
  readonly id: string
  readonly principal: Principal
  readonly service: JudgedService
  readonly method: string
  /** The service's own name of the tool or prompt, or the resource's own URI; absent for lists and listening. */
  readonly target?: string
  /** Tool annotations as the upstream declared them. */
  readonly annotations?: JsonObject
  /** Bytes of the request as it arrived. */
  readonly bytes: number
  readonly depth: number
  /** The run this call says it belongs to; only ever a key of budgets, never proof of anything. */
  readonly run?: string
  /** The client can put a question to its person during the call. */
  readonly canAsk?: boolean
  /** SHA-256 over method, target and the exact arguments; worked out when somebody asks for it. */
  digest?(): string
  /** The arguments for a person's eyes: JSON on one line, cut short, nothing invisible in it. Never for a log. */
  preview?(): string
  /**
   * A later round of a call that was let through before, with the same arguments and from the same principal: an `ask`
   * is not put again, a denial still counts.
   */
  readonly continued?: boolean
}

/** A service as a decision sees it: with what it offers, where that is known. */
export type JudgedService = ServiceDefinition & { readonly interface?: Interface }

export type Admission =
  | { readonly kind: "permit"; readonly permit: Permit }
  | { readonly kind: "deny"; readonly error: ClarityError }
  | { readonly kind: "ask"; readonly approval: ApprovalRequest }

/** A person must say yes first. Their yes becomes a grant that lets exactly this call through once. */
export interface ApprovalRequest {
  readonly id: string
  /** For a person: what is about to happen, and why they are asked. */
  readonly question: string
  /** The caller's own person may answer; else only an operator. */
  readonly byClient: boolean
  /** Epoch milliseconds after which an answer comes too late. */
  readonly expiresAt: number
}

/** A place in the service's queue, held until settled. */
export interface Permit {
  readonly limits: CallLimits
  /** A person's grant, good for this one call, let it through: what brings the call back later is good for one time only. */
  readonly granted?: boolean
  /** Exactly once, when the call is over however it ended; frees the place. Later calls do nothing. */
  settle(outcome: CallOutcome): void
  /** The call waits for a person: gives the place back. */
  suspend(): void
  /** Takes a place again, waiting for one if need be. Throws ClarityError when none is to be had. */
  resume(signal: AbortSignal): Promise<void>
}

export interface CallOutcome {
  /** `ok`; `tool_error`: an `isError` result (the caller's or the tool's affair); `upstream_error`: the service's fault; `cancelled`. */
  readonly kind: "ok" | "tool_error" | "upstream_error" | "rejected" | "cancelled"
  readonly error?: ClarityError
  readonly durationMs: number
  /** Bytes of the answer and tokens it cost, where somebody counted them; for budgets. */
  readonly resultBytes?: number
  readonly tokens?: number
  /** What the service itself stated of it; see `usageOf`. */
  readonly usage?: ModelUsage | undefined
}

/** Decides whether one principal may make one call. Fails closed: what throws denies. */
export interface Policy {
  /** Short digest of the rules in force, for the record of each call; absent: there are none. */
  readonly version?: string
  /** May answer at once or wait for a free place; waiting ends with the signal. */
  admit(input: AdmissionInput, signal: AbortSignal): Admission | Promise<Admission>
  /** May this principal see that item in lists? Synchronous; absent means yes. Hidden items answer like unknown ones. */
  visible?(principal: Principal, service: JudgedService, kind: "tool" | "prompt" | "resource", name: string): boolean
  /** True when `visible` gives different answers to different principals, so that lists are private to each. */
  readonly perPrincipal?: boolean
  /** Why a parked call may not go on under the rules of now; asked before it does. Absent or undefined: it may. */
  refusal?(input: AdmissionInput): ClarityError | undefined
  /** Would a person be asked first, under the rules of now? Absent: nobody ever is. Says nothing of refusals. */
  asks?(input: AdmissionInput): boolean
  /** What the caller's own person said. Throws `invalid_params` when this approval is not theirs, unknown or too old. */
  answer?(approvalId: string, principal: Principal, approved: boolean): void
  /** Tells that `visible` may answer differently from now on. Ends with the signal. */
  changes?(signal: AbortSignal): AsyncIterable<unknown>
}

/** Why a call would be decided as it is; without places, rates and budgets, which change by the moment. */
export interface Explanation {
  readonly effect: "allow" | "deny" | "ask"
  /** Listed for this principal; what is not answers like something unknown. */
  readonly visible: boolean
  /** In words: what decided. */
  readonly reason: string
  /** Name or number of the rule that decided; absent when none matched or something else than a rule did. */
  readonly rule?: string
  readonly version: string
  /** Every step that was looked at, in order. */
  readonly steps: readonly string[]
}

export interface ExplainInput {
  readonly principal: Principal
  readonly service: JudgedService
  readonly method: string
  readonly target?: string
}

/** What the policy in force is made of. */
export interface PolicyStatus {
  /** Short digest of the rules in force. */
  readonly version: string
  readonly rules: number
  /** Path of the rules file as the operator gave it; absent: rules come from nowhere, defaults hold. */
  readonly file?: string
  /** Why the newest file is not in force: the last good one is, or, where there was none, everything is refused. */
  readonly problem?: string
  /** True when a problem leaves no rules to go by. */
  readonly closed: boolean
}

export interface PendingApproval extends ApprovalRequest {
  readonly principal: string
  readonly service: string
  readonly target: string
  readonly method: string
  /** Digest of the exact arguments. */
  readonly digest: string
  /** The arguments as far as a person needs to see them (see `AdmissionInput.preview`). */
  readonly preview?: string
  readonly rule?: string
  /** Epoch milliseconds. */
  readonly askedAt: number
  readonly state: "waiting" | "granted" | "refused"
}

export interface CircuitStatus {
  readonly serviceId: string
  readonly state: "closed" | "open" | "half_open"
  readonly failures: number
  /** Milliseconds until it lets a probe through; 0 unless open. */
  readonly retryAfterMs: number
}

/** A tool whose definition is not the one that was approved. */
export interface ToolDrift {
  readonly serviceId: string
  readonly tool: string
  readonly kind: "new" | "changed" | "gone"
  /** Top-level fields that differ. */
  readonly fields: readonly string[]
}

/** One expected decision, as a file of them writes it. */
export interface PolicyCase {
  /** Scopes default to `read` and `call`. */
  readonly principal: { readonly id: string; readonly scopes?: readonly Scope[]; readonly reach?: readonly string[] }
  /** Namespace or id; one that is not known is taken for a service of that name. */
  readonly service: string
  /** Default `tools/call`. */
  readonly method?: string
  /** Exactly one of the three, by the service's own name. */
  readonly tool?: string
  readonly prompt?: string
  readonly resource?: string
  /** In place of what the service declares. */
  readonly annotations?: JsonObject
  readonly expect: Explanation["effect"]
  /** Name of the rule that must decide. */
  readonly rule?: string
  /** Whether it must be in lists. */
  readonly visible?: boolean
}

export interface PolicyTestReport {
  readonly passed: number
  readonly failed: number
  /** Version of the rules that were tried. */
  readonly version: string
  /** In the order of the cases. */
  readonly results: readonly PolicyCaseResult[]
}

export interface PolicyCaseResult {
  /** `token:ci notes/delete_note`. */
  readonly name: string
  readonly passed: boolean
  /** Why it failed, in words. */
  readonly problem?: string
  readonly got: Explanation
}

/** The operator's side of a policy. Asynchronous answers are durable when they resolve. */
export interface PolicyDesk {
  status(): PolicyStatus
  /** Looks for newer rules now, and takes a file that is gone for gone. Resolves when `status` tells the outcome. */
  reload(by: Principal): Promise<PolicyStatus>
  /**
   * Tries expected decisions against the rules in force, or against others that are not installed. `services` are those
   * whose declarations are known. Throws `invalid_params` naming what is wrong in either.
   */
  test(
    input: { readonly cases: unknown; readonly rules?: unknown },
    services: readonly JudgedService[],
  ): PolicyTestReport
  explain(input: ExplainInput): Explanation
  /** Newest first. */
  approvals(): readonly PendingApproval[]
  /** Throws `not_found`, also for what is out of reach of who decides, or `conflict`. */
  decide(approvalId: string, approved: boolean, by: Principal): PendingApproval
  circuits(): readonly CircuitStatus[]
  /** Forgets what was held against a service: an operator has started it anew. */
  forgive(serviceId: string): void
  drifts(service: JudgedService): readonly ToolDrift[]
  /** Takes a service's tools (or these of them) as they are now for good. */
  approveTools(service: JudgedService, tools: readonly string[] | undefined, by: Principal): Promise<readonly string[]>
}
