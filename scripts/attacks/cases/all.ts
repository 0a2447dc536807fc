import type { Case } from "../finding.ts"
import { addressCases } from "./addresses.ts"
import { administrationCases } from "./administration.ts"
import { bombCases } from "./bombs.ts"
import { browserCases } from "./browser.ts"
import { childLifeCases } from "./child-lives.ts"
import { childCases } from "./children.ts"
import { envelopeCases } from "./envelopes.ts"
import { expressionCases } from "./expressions.ts"
import { floodCases } from "./floods.ts"
import { identityCases } from "./identities.ts"
import { loginCases } from "./logins.ts"
import { moduleCases } from "./modules.ts"
import { pageCases } from "./pages.ts"
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
  ...childLifeCases,
  ...moduleCases,
  ...sessionCases,
  ...secretCases,
  ...recordCases,
  ...pageCases,
  ...ruleCases,
  ...toolCases,
  ...identityCases,
  ...administrationCases,
  ...loginCases,
  ...floodCases,
  ...expressionCases,
  ...browserCases,
]
