import { ClarityError, type Clock, type ModelUsage } from "@clarity-runtime/contracts"
import { createLedger, type Ledger } from "./ledger.ts"
import type { BudgetRule, Prices } from "./rules-schema.ts"

/** What a call used up beside itself and the bytes of its request; what nobody counted is absent and not charged. */
export interface Spent {
  readonly durationMs: number
  readonly resultBytes?: number
  /** As the service stated them. */
  readonly tokens?: number
  /** What they cost, where model and price are known. */
  readonly usd?: number
}

/**
 * What is used up per key. A call and the bytes of its request are charged when it is let through, the rest when it
 * ends: calls under way at that moment may go over by what they cost. A window begins with its first call. A rule of the
 * same name and figures goes on where it was.
 */
export interface Budgets {
  /** `owner`: in whose name the key was made; nobody's keys can push those of another out of memory. */
  admit(rule: BudgetRule, key: string, bytes: number, owner?: string): ClarityError | undefined
  /** Exactly once for every call that was let through. */
  settle(rule: BudgetRule, key: string, spent: Spent): void
}

/** Keys remembered per rule. Beyond it, what nobody used for a day goes first, then the least used of whoever has most. */
export const rememberedAccounts = 4096
const forgottenAtOnce = rememberedAccounts / 16
const dayMs = 86_400_000

type Bound = "calls" | "bytes" | "tokens" | "seconds" | "usd"
const words: Record<Bound, string> = {
  calls: "calls",
  bytes: "bytes",
  tokens: "tokens",
  seconds: "seconds of calls",
  usd: "USD",
}

export function createBudgets(clock: Clock): Budgets {
  const ledger: Ledger<BudgetRule, Accounts> = createLedger(
    ({ name, principals: _p, services: _s, ...figures }) => JSON.stringify([name, figures]),
    (rule) => new Accounts(rule),
    (accounts, now) => accounts.over(now),
  )
  return {
    admit(rule, key, bytes, owner = key) {
      const now = clock.monotonic()
      const accounts = ledger.of(rule, now)
      const account = accounts.get(key, owner, now)
      const bound = usedUp(rule, account, bytes)
      if (bound !== undefined) return refusal(rule, bound, accounts.left(account, now))
      account.calls++
      account.bytes += bytes
      account.underWay++
      return undefined
    },
    settle(rule, key, { durationMs, resultBytes = 0, tokens = 0, usd = 0 }) {
      const now = clock.monotonic()
      const account = ledger.of(rule, now).find(key, now)
      if (account === undefined) return
      account.seconds += durationMs / 1000
      account.bytes += resultBytes
      account.tokens += tokens
      account.usd += usd
      account.underWay--
    },
  }
}

/** Undefined where the service states no model or the model has no price: such a call is not charged. */
export function costOf(usage: ModelUsage, prices: Prices): number | undefined {
  const { model, inputTokens, outputTokens } = usage
  const price = model !== undefined && Object.hasOwn(prices, model) ? prices[model] : undefined
  return price && (inputTokens * price.input + outputTokens * price.output) / 1_000_000
}

function usedUp(rule: BudgetRule, account: Account, bytes: number): Bound | undefined {
  const { calls, tokens, seconds, usd } = rule
  if (calls !== undefined && account.calls >= calls) return "calls"
  if (rule.bytes !== undefined && account.bytes + bytes > rule.bytes) return "bytes"
  if (tokens !== undefined && account.tokens >= tokens) return "tokens"
  if (seconds !== undefined && account.seconds >= seconds) return "seconds"
  return usd !== undefined && account.usd >= usd ? "usd" : undefined
}

function refusal(rule: BudgetRule, bound: Bound, leftMs: number | undefined): ClarityError {
  const whose = rule.per === "run" ? "this run" : "this principal"
  const text = `${rule.name}: the budget of ${whose} is used up (${rule[bound]} ${words[bound]})`
  return new ClarityError("policy_denied", text, {
    data: {
      reason: "budget",
      rule: rule.name,
      usedUp: bound,
      ...(leftMs === undefined ? {} : { retryable: true, retryAfterMs: Math.ceil(leftMs) }),
    },
  })
}

class Account implements Record<Bound, number> {
  readonly owner: string
  startedAt: number
  usedAt: number
  underWay = 0
  calls = 0
  bytes = 0
  tokens = 0
  seconds = 0
  usd = 0

  constructor(owner: string, now: number) {
    this.owner = owner
    this.startedAt = this.usedAt = now
  }
}

class Accounts {
  readonly #rule: BudgetRule
  readonly #windowMs: number
  readonly #accounts = new Map<string, Account>()
  #usedAt = 0

  constructor(rule: BudgetRule) {
    this.#rule = rule
    this.#windowMs = (rule.windowSeconds ?? Number.POSITIVE_INFINITY) * 1000
  }

  get(key: string, owner: string, now: number): Account {
    const known = this.find(key, now)
    if (known !== undefined) return known
    if (this.#accounts.size >= rememberedAccounts) this.#forget(now)
    const account = new Account(owner, now)
    this.#accounts.set(key, account)
    return account
  }

  find(key: string, now: number): Account | undefined {
    this.#usedAt = now
    const account = this.#accounts.get(key)
    if (account === undefined) return undefined
    account.usedAt = now
    if (now - account.startedAt >= this.#windowMs) {
      account.startedAt = now
      account.calls = account.bytes = account.tokens = account.seconds = account.usd = 0
    }
    return account
  }

  /** Milliseconds until the budget begins anew, if it ever does. */
  left(account: Account, now: number): number | undefined {
    return this.#windowMs === Number.POSITIVE_INFINITY ? undefined : account.startedAt + this.#windowMs - now
  }

  /** A rule nobody has asked for: its counts are those of another time. */
  over(now: number): boolean {
    return now - this.#usedAt >= Math.max(dayMs, this.#rule.windowSeconds === undefined ? 0 : this.#windowMs)
  }

  /** Calls under way keep their accounts: there are far fewer of them than accounts. */
  #forget(now: number): void {
    const endedMs = Math.min(this.#windowMs, dayMs)
    const owners = new Map<string, [string, Account][]>()
    for (const entry of this.#accounts) {
      const [key, account] = entry
      if (account.underWay > 0) continue
      const ended = this.#windowMs < dayMs ? account.startedAt : account.usedAt
      if (now - ended >= endedMs) this.#accounts.delete(key)
      else {
        const own = owners.get(account.owner)
        if (own === undefined) owners.set(account.owner, [entry])
        else own.push(entry)
      }
    }
    const lanes = Array.from(owners.values())
    for (const lane of lanes) lane.sort(([, a], [, b]) => this.#share(b) - this.#share(a))
    while (this.#accounts.size > rememberedAccounts - forgottenAtOnce) {
      let longest: [string, Account][] = []
      for (const lane of lanes) if (lane.length > longest.length) longest = lane
      const least = longest.pop()
      if (least === undefined) return
      this.#accounts.delete(least[0])
    }
  }

  /** How much of its budget is used up, 1 being all. */
  #share(account: Account): number {
    const rule = this.#rule
    let share = 0
    for (const bound of Object.keys(words) as Bound[])
      share = Math.max(share, account[bound] / (rule[bound] ?? Infinity))
    return share
  }
}
