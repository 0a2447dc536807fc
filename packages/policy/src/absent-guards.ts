import type { CallOutcome, CircuitStatus, ClarityError, Clock } from "@clarity-runtime/contracts"
import type { BudgetRule, CircuitRule, RateRule } from "./rules-schema.ts"

interface Breaker {
  admit(serviceId: string): ClarityError | undefined
  settle(serviceId: string, outcome: CallOutcome): void
  forgive(serviceId: string): void
  list(): readonly CircuitStatus[]
}
interface Rates {
  admit(rule: RateRule, key: string): ClarityError | undefined
}
interface Budgets {
  admit(rule: BudgetRule, key: string, bytes: number): ClarityError | undefined
  settle(rule: BudgetRule, key: string, spent: { durationMs: number; resultBytes?: number; tokens?: number }): void
}

export const createBreaker = (_given: { clock: Clock } & CircuitRule): Breaker => ({
  admit: () => undefined,
  settle: () => {},
  forgive: () => {},
  list: () => [],
})
export const createRates = (_clock: Clock): Rates => ({ admit: () => undefined })
export const createBudgets = (_clock: Clock): Budgets => ({ admit: () => undefined, settle: () => {} })
