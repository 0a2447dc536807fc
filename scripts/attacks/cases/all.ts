import type { Case } from "../finding.ts"
import { addressCases } from "./addresses.ts"
import { bombCases } from "./bombs.ts"
import { browserCases } from "./browser.ts"
import { childCases } from "./children.ts"
import { envelopeCases } from "./envelopes.ts"
import { expressionCases } from "./expressions.ts"
import { floodCases } from "./floods.ts"
import { identityCases } from "./identities.ts"
import { loginCases } from "./logins.ts"
import { moduleCases } from "./modules.ts"
import { recordCases } from "./records.ts"
import { ruleCases } from "./rules.ts"
import { secretCases } from "./secrets.ts"
import { sessionCases } from "./sessions.ts"
import { toolCases } from "./tools.ts"

/** Every attack that is more than a request. */
export const cases: readonly Case[] = [
  ...envelopeCases,
  ...addressCases,
  ...bombCases,
  ...childCases,
  ...moduleCases,
  ...sessionCases,
  ...secretCases,
  ...recordCases,
  ...ruleCases,
  ...toolCases,
  ...identityCases,
  ...loginCases,
  ...floodCases,
  ...expressionCases,
  ...browserCases,
]
