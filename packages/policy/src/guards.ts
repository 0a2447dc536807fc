import {
  ClarityError,
  type AdmissionInput,
  type CallOutcome,
  type CircuitStatus,
  type Clock,
} from "@clarity-runtime/contracts"
import { matcherOf, type Matcher, type Matchers, type Subject } from "./matching.ts"
import type { Books } from "./places.ts"
import type { RuleSet } from "./rule-set.ts"
import type { BudgetRule, RateRule } from "./rules-schema.ts"
import { createBreaker, createBudgets, createRates } from "./absent-guards.ts"

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

export function createGuards(clock: Clock, first: RuleSet): Guards {
  const rates = createRates(clock)
  const budgets = createBudgets(clock)
  let breaker = breakerOf(first, clock)
  let inForce = compile(first)

  /** Of a call that no budget counts: nothing is made for it. */
  const circuitOnly: Books = { settle: (serviceId, outcome) => breaker.settle(serviceId, outcome) }

  function charged(charges: readonly Charge[]): Books {
    return {
      settle(serviceId, outcome) {
        breaker.settle(serviceId, outcome)
        for (const { rule, key } of charges) budgets.settle(rule, key, spentOn(outcome))
      },
    }
  }

  return {
    apply(rules) {
      const { circuit } = inForce
      inForce = compile(rules)
      if (circuit !== inForce.circuit) breaker = breakerOf(rules, clock)
    },

    admit(input, subject) {
      const { principal, service, run, bytes } = input
      for (const { rule, mismatch } of inForce.rates) {
        if (mismatch(subject) !== undefined) continue
        const refusal = rates.admit(rule, keyOf(rule, principal.id, service.id))
        if (refusal !== undefined) return refusal
      }
      let charges: Charge[] | undefined
      for (const { rule, mismatch } of inForce.budgets) {
        if ((rule.per === "run" && run === undefined) || mismatch(subject) !== undefined) continue
        const key = rule.per === "run" ? JSON.stringify([principal.id, run]) : principal.id
        const refusal = budgets.admit(rule, key, bytes)
        if (refusal !== undefined) {
          for (const charge of charges ?? []) budgets.settle(charge.rule, charge.key, { durationMs: 0 })
          return refusal
        }
        charges = [...(charges ?? []), { rule, key }]
      }
      // Last, because it may have lent out the one probe of a circuit that is half open.
      const refusal = breaker.admit(service.id)
      if (refusal === undefined) return charges === undefined ? circuitOnly : charged(charges)
      for (const { rule, key } of charges ?? []) budgets.settle(rule, key, { durationMs: 0 })
      return refusal
    },

    circuits: () => breaker.list(),
    forgive: (serviceId) => breaker.forgive(serviceId),
  }
}

function compile({ file }: RuleSet) {
  const matched = <T extends Matchers>(rules: readonly T[]): Matched<T>[] =>
    rules.map((rule) => ({ rule, mismatch: matcherOf(rule, "closes") }))
  return { rates: matched(file.rates), budgets: matched(file.budgets), circuit: JSON.stringify(file.circuit) }
}

function breakerOf({ file }: RuleSet, clock: Clock) {
  return createBreaker({ clock, ...file.circuit })
}

function keyOf({ per }: RateRule, principal: string, service: string): string {
  if (per === "principal") return principal
  return per === "service" ? service : JSON.stringify([principal, service])
}

function spentOn({ durationMs, resultBytes, tokens }: CallOutcome) {
  return {
    durationMs,
    ...(resultBytes === undefined ? {} : { resultBytes }),
    ...(tokens === undefined ? {} : { tokens }),
  }
}
