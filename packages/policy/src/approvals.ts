import {
  ClarityError,
  hasScope,
  reaches,
  type AdmissionInput,
  type ApprovalRequest,
  type Clock,
  type PendingApproval,
  type Principal,
  type Telemetry,
} from "@clarity-runtime/contracts"
import { randomBytes } from "node:crypto"
import type { Approver, RuleSet, Verdict } from "./rule-set.ts"
import { quoted } from "./wording.ts"

/** What became of the question whether one exact call may go ahead. */
export type Asked =
  | { readonly state: "waiting"; readonly approval: ApprovalRequest }
  | { readonly state: "granted"; readonly grant: Grant }
  | { readonly state: "refused"; readonly error: ClarityError }

/** A person's yes for one call, in the hands of that call: the same call made meanwhile asks anew. Exactly one of the two is called. */
export interface Grant {
  /** It let its call through. */
  consume(): void
  /** There was no place for the call: the yes is there for its next attempt. */
  giveBack(): void
}

/** Questions to people, their answers, and what the answers are good for. Held in memory: a restart asks anew. */
export interface Approvals {
  /** The state of this very call's question; asks it when nobody has. */
  of(input: AdmissionInput, verdict: Verdict, rules: RuleSet): Asked
  /** What the caller's own person said. Throws `invalid_params`, `policy_denied`. */
  answer(id: string, principal: Principal, approved: boolean): void
  /** What an operator said. Throws `not_found`, `conflict`, `forbidden`. */
  decide(id: string, approved: boolean, by: Principal): PendingApproval
  /** Newest first. */
  list(): readonly PendingApproval[]
  /** Forgets everything: it was asked under rules that hold no longer. */
  clear(): void
}

interface Entry {
  readonly key: string
  readonly pending: Omit<PendingApproval, "state">
  readonly kind: "tool" | undefined
  readonly approvers: readonly Approver[]
  /** Monotonic milliseconds. */
  readonly due: number
  state: PendingApproval["state"]
}

export interface ApprovalBounds {
  readonly total: number
  readonly perPrincipal: number
}

const usual: ApprovalBounds = { total: 1024, perPrincipal: 32 }

export function createApprovals(clock: Clock, telemetry: Telemetry, bounds: ApprovalBounds = usual): Approvals {
  const byKey = new Map<string, Entry>()
  const byId = new Map<string, Entry>()
  let sweeping = false

  function remove(entry: Entry): void {
    byId.delete(entry.pending.id)
    if (byKey.get(entry.key) === entry) byKey.delete(entry.key)
  }

  function tell(entry: Entry, what: string, words: string, by?: string): void {
    const { id, principal, service, target, method, digest, rule } = entry.pending
    const subject = target === "" ? method : `${service}/${quoted(target)}`
    telemetry.record({
      kind: `policy.${what}`,
      level: "info",
      message: `${principal} calling ${subject}: ${words}`,
      data: {
        approval: id,
        principal,
        service,
        target,
        method,
        digest,
        ...(rule === undefined ? {} : { rule }),
        ...(by === undefined ? {} : { by }),
      },
    })
  }

  function expire(entry: Entry, words: string): void {
    remove(entry)
    tell(entry, "expired", words)
  }

  /** All wait equally long, so the oldest is due first; one timer for all of them. */
  async function sweep(): Promise<void> {
    sweeping = true
    for (let [oldest] = byId.values(); oldest !== undefined; [oldest] = byId.values()) {
      const wait = oldest.due - clock.monotonic()
      if (wait > 0) await clock.sleep(wait)
      for (const entry of byId.values()) {
        if (entry.due > clock.monotonic()) break
        expire(entry, entry.state === "waiting" ? "nobody answered in time" : "the answer is too old now")
      }
    }
    sweeping = false
  }

  /** Room for one more of this principal: the oldest of its own questions nobody has answered gives way. */
  function makeRoom(principal: string): ClarityError | undefined {
    const own = [...byId.values()].filter((entry) => entry.pending.principal === principal)
    if (own.length >= bounds.perPrincipal) {
      const oldest = own.find(({ state }) => state === "waiting") ?? own.find(({ state }) => state === "refused")
      if (oldest === undefined) return full(`${bounds.perPrincipal} approved calls of ${principal} were not made yet`)
      expire(oldest, "displaced by newer questions of the same caller")
    }
    return byId.size >= bounds.total ? full("too many calls wait for a person's approval") : undefined
  }

  function ask(
    key: string,
    digest: string,
    input: AdmissionInput,
    verdict: Verdict,
    rules: RuleSet,
  ): Entry | ClarityError {
    const refusal = makeRoom(input.principal.id)
    if (refusal !== undefined) return refusal
    const { principal, service, method, target = "" } = input
    const seconds = rules.file.approvals.expirySeconds
    const pending = {
      id: `ap_${randomBytes(8).toString("hex")}`,
      question: questionOf(input, verdict),
      byClient: verdict.approvers.includes("client"),
      expiresAt: clock.now() + seconds * 1000,
      principal: principal.id,
      service: service.namespace,
      target,
      method,
      digest,
      ...(input.preview === undefined ? {} : { preview: input.preview() }),
      ...(verdict.rule === undefined ? {} : { rule: verdict.rule.name }),
      askedAt: clock.now(),
    }
    const entry: Entry = {
      key,
      pending,
      kind: method === "tools/call" ? "tool" : undefined,
      approvers: verdict.approvers,
      due: clock.monotonic() + seconds * 1000,
      state: "waiting",
    }
    byKey.set(key, entry)
    byId.set(pending.id, entry)
    tell(entry, "asked", "a person must approve it")
    if (!sweeping) void sweep()
    return entry
  }

  /** The entry of an id, unless its time is over. */
  function live(id: string): Entry | undefined {
    const entry = byId.get(id)
    return entry === undefined || entry.due <= clock.monotonic() ? undefined : entry
  }

  function settle(entry: Entry, approved: boolean, by: string): void {
    entry.state = approved ? "granted" : "refused"
    tell(entry, entry.state, approved ? `approved once by ${by}` : `refused by ${by}`, by)
  }

  return {
    of(input, verdict, rules) {
      const digest = input.digest?.()
      // Without the exact arguments a yes would be good for any.
      if (digest === undefined)
        return { state: "refused", error: unapproved(input, "its arguments are not known here") }
      const { principal, service, method, target = "" } = input
      const key = JSON.stringify([principal.id, service.id, method, target, digest, rules.version])
      const known = byKey.get(key)
      const entry =
        known !== undefined && known.due > clock.monotonic() ? known : ask(key, digest, input, verdict, rules)
      if (entry instanceof ClarityError) return { state: "refused", error: entry }
      if (entry.state === "refused") return { state: "refused", error: unapproved(input, "a person refused this call") }
      if (entry.state === "waiting") {
        const { id, question, expiresAt } = entry.pending
        const byClient = entry.pending.byClient && input.canAsk === true
        return { state: "waiting", approval: { id, question, byClient, expiresAt } }
      }
      byKey.delete(key)
      return {
        state: "granted",
        grant: {
          consume() {
            remove(entry)
            tell(entry, "consumed", "let through by its approval")
          },
          giveBack() {
            if (byKey.has(key)) remove(entry)
            else if (byId.has(entry.pending.id)) byKey.set(key, entry)
          },
        },
      }
    },

    answer(id, principal, approved) {
      const entry = live(id)
      if (entry === undefined || entry.pending.principal !== principal.id || entry.state === "refused")
        throw new ClarityError("invalid_params", "this approval is unknown or too old; start the call anew", {
          data: { reason: "approval" },
        })
      if (!entry.approvers.includes("client"))
        throw new ClarityError("policy_denied", "only an operator may approve this call", {
          data: { service: entry.pending.service, reason: "approvers" },
        })
      if (entry.state === "waiting" || !approved) settle(entry, approved, `the person of ${principal.id}`)
    },

    decide(id, approved, by) {
      const entry = live(id)
      // To whom the service is out of reach, there is no such approval.
      if (entry === undefined || !reaches(by, entry.pending.service, entry.kind && entry.pending.target))
        throw new ClarityError(
          "not_found",
          `no approval ${quoted(id)} is waiting; clarityctl approvals list shows them`,
        )
      if (entry.state !== "waiting")
        throw new ClarityError("conflict", `approval ${entry.pending.id} was already ${entry.state}`)
      if (!entry.approvers.includes("operator"))
        throw new ClarityError("forbidden", "the rule leaves this decision to the caller's own person")
      if (!hasScope(by, "operate")) throw new ClarityError("forbidden", `${by.id} lacks the scope operate`)
      // Refusing one's own call harms nobody; approving it would make the rule worth nothing.
      if (approved && by.id === entry.pending.principal && !hasScope(by, "admin"))
        throw new ClarityError("forbidden", "a caller cannot approve its own call; another operator can")
      settle(entry, approved, by.id)
      return { ...entry.pending, state: entry.state }
    },

    list: () =>
      [...byId.values()]
        .filter(({ due }) => due > clock.monotonic())
        .map(({ pending, state }) => ({ ...pending, state }))
        .reverse(),

    clear() {
      for (const entry of byId.values()) expire(entry, "the rules changed")
    },
  }
}

function questionOf({ principal, service, method, target }: AdmissionInput, { rule }: Verdict): string {
  const what = method === "tools/call" ? "call the tool" : `make the request ${method} for`
  const subject = target === undefined ? service.namespace : `${quoted(target)} of ${service.namespace}`
  const why = rule?.reason ?? (rule === undefined ? "nothing is allowed without asking" : `rule '${rule.name}'`)
  return `${principal.id} wants to ${what} ${subject}. ${why}. Let it through, once?`
}

function unapproved({ service }: AdmissionInput, why: string): ClarityError {
  return new ClarityError("policy_denied", `this call needs a person's approval: ${why}`, {
    data: { service: service.namespace, reason: "declined" },
  })
}

function full(why: string): ClarityError {
  return new ClarityError("rate_limited", `this call needs a person's approval, but ${why}`, {
    data: { reason: "approvals", retryAfterMs: 30_000 },
  })
}
