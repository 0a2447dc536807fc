import type { Case } from "../finding.ts"

/** Every attack that is more than a request. */
export const cases: readonly Case[] = []
