import type { Case } from "../finding.ts"
import { addressCases } from "./addresses.ts"
import { bombCases } from "./bombs.ts"
import { childCases } from "./children.ts"
import { envelopeCases } from "./envelopes.ts"
import { moduleCases } from "./modules.ts"
import { sessionCases } from "./sessions.ts"

/** Every attack that is more than a request. */
export const cases: readonly Case[] = [
  ...envelopeCases,
  ...addressCases,
  ...bombCases,
  ...childCases,
  ...moduleCases,
  ...sessionCases,
]
