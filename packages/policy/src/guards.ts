import {
  ClarityError,
  type AdmissionInput,
  type CallOutcome,
  type CircuitStatus,
  type Clock,
} from "@clarity-runtime/contracts"
import { createBreaker } from "./breaker.ts"
import { costOf, createBudgets, type Budgets, type Spent } from "./budgets.ts"
import { matcherOf, type Matcher, type Matchers, type Subject } from "./matching.ts"
import type { Books } from "./places.ts"
import { createRates } from "./rates.ts"
import type { RuleSet } from "./rule-set.ts"
import type { BudgetRule, CircuitRule, CircuitWish, Prices, RateRule } from "./rules-schema.ts"

/** Rates, budgets and circuits of the rules in force, put to one call after the other. */
export interface Guards {
  /** What has been counted goes on under rules that did not change. */
  apply(rules: RuleSet): void
  /** The books the call's end goes into, or why it may not begin. */
  admit(input: AdmissionInput, subject: Subject): Books | ClarityError
  circuits(): readonly CircuitStatus[]
  forgive(serviceId: string): void
}

interface Matched<T> {
  readonly rule: T
  readonly mismatch: Matcher
}

interface Charge {
  readonly rule: BudgetRule
  readonly key: string
}

/** What holds where the rules say nothing. */
export interface GuardDefaults {
  readonly circuit?: CircuitWish | undefined
  /** For every run that is named, unless the rules have budgets of runs themselves. */
  readonly run?: { readonly calls?: number; readonly tokens?: number; readonly usd?: number } | undefined
}

export function createGuards(clock: Clock, first: RuleSet, defaults: GuardDefaults = {}): Guards {
  const rates = createRates(clock)
  const budgets = createBudgets(clock)
  const breaker = createBreaker({ clock, ...circuitOf(first, defaults) })
  const anyRun: BudgetRule | undefined = defaults.run && { name: "run", per: "run", ...defaults.run }
  let inForce = compile(first, anyRun)

  /** What budgets charge for a call, or the first of them that is used up. */
  function charge(input: AdmissionInput, subject: Subject): Charge[] | ClarityError {
    const { principal, run, bytes } = input
    const charges: Charge[] = []
    for (const { rule, mismatch } of inForce.budgets) {
      if ((rule.per === "run" && run === undefined) || mismatch(subject) !== undefined) continue
      // A run is whatever its caller calls so: one caller's are never another's.
      const key = rule.per === "run" ? JSON.stringify([principal.id, run]) : principal.id
      const refusal = budgets.admit(rule, key, bytes, principal.id)
      if (refusal !== undefined) {
        settleAll(budgets, charges, { durationMs: 0 })
        return refusal
      }
      charges.push({ rule, key })
    }
    return charges
  }

  return {
    apply(rules) {
      inForce = compile(rules, anyRun)
      breaker.reconfigure(circuitOf(rules, defaults))
    },

    admit(input, subject) {
      const { principal, service } = input
      for (const { rule, mismatch } of inForce.rates) {
        if (mismatch(subject) !== undefined) continue
        const refusal = rates.admit(rule, keyOf(rule, principal.id, service.id))
        if (refusal !== undefined) return refusal
      }
      const charges = inForce.budgets.length === 0 ? none : charge(input, subject)
      if (charges instanceof ClarityError) return charges
      // Last, because it may lend out the one probe of a circuit that is half open.
      const pass = breaker.admit(service.id, service.namespace)
      // Most calls are charged to nobody: for them nothing is made.
      if (charges.length === 0) return pass
      if (pass instanceof ClarityError) {
        settleAll(budgets, charges, { durationMs: 0 })
        return pass
      }
      const { prices } = inForce
      return {
        settle(serviceId, outcome) {
          pass.settle(serviceId, outcome)
          settleAll(budgets, charges, spentOn(outcome, charges, prices))
        },
      }
    },

    circuits: () => breaker.list(),
    forgive: (serviceId) => breaker.forgive(serviceId),
  }
}

const none: readonly Charge[] = []

function settleAll(budgets: Budgets, charges: readonly Charge[], spent: Spent): void {
  for (const { rule, key } of charges) budgets.settle(rule, key, spent)
}

const usualCircuit: CircuitRule = { consecutive: 5, windowSeconds: 60, minCalls: 8, errorRate: 0.6, openSeconds: 30 }

function circuitOf({ file }: RuleSet, { circuit }: GuardDefaults): CircuitRule {
  const said = Object.entries({ ...circuit, ...file.circuit }).filter(([, value]) => value !== undefined)
  return { ...usualCircuit, ...Object.fromEntries(said) }
}

function compile({ file }: RuleSet, anyRun: BudgetRule | undefined) {
  const matched = <T extends Matchers>(rules: readonly T[]): Matched<T>[] =>
    rules.map((rule) => ({ rule, mismatch: matcherOf(rule, "closes") }))
  const usual = anyRun === undefined || file.budgets.some(({ per }) => per === "run") ? [] : [anyRun]
  return { rates: matched(file.rates), budgets: matched([...file.budgets, ...usual]), prices: file.prices }
}

function keyOf({ per }: RateRule, principal: string, service: string): string {
  if (per === "principal") return principal
  return per === "service" ? service : JSON.stringify([principal, service])
}

/** Only what a budget bounds is looked at: counting the bytes of an answer costs as much as writing it. */
function spentOn(outcome: CallOutcome, charges: readonly Charge[], prices: Prices): Spent {
  const bounded = (bound: "bytes" | "tokens" | "usd") => charges.some(({ rule }) => rule[bound] !== undefined)
  const resultBytes = bounded("bytes") ? outcome.resultBytes : undefined
  const usage = bounded("tokens") || bounded("usd") ? outcome.usage : undefined
  const tokens = outcome.tokens ?? usage?.tokens
  const usd = usage && costOf(usage, prices)
  return {
    durationMs: outcome.durationMs,
    ...(resultBytes === undefined ? {} : { resultBytes }),
    ...(tokens === undefined ? {} : { tokens }),
    ...(usd === undefined ? {} : { usd }),
  }
}
