import { readFile } from "node:fs/promises"
import { ClarityError, isJsonObject, type JsonObject } from "@clarity-runtime/contracts"
import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { counted } from "../../output/table.ts"

export class PolicyTest extends ControlCommand {
  static override summary = "Try a file of expected decisions against the rules in force, or against other rules."
  static override examples = ["<%= config.bin %> policy test cases.json --rules next-policy.json"]
  static override args = {
    file: Args.string({ ignoreStdin: true, required: true, description: 'JSON: {"cases": [...]}' }),
  }
  static override flags = {
    rules: Flags.string({ description: "a rules file to try in place of the one in force; nothing is installed" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(PolicyTest)
    const { cases } = await objectIn(args.file)
    if (!Array.isArray(cases) || !cases.every(isJsonObject))
      throw new ClarityError("invalid_params", `${args.file} must be {"cases": [...]}, a list of objects`)
    const rules = flags.rules === undefined ? {} : { rules: await objectIn(flags.rules) }
    const answer = await connect(flags).testPolicy({ cases, ...rules })
    const { failed, passed, version } = answer
    this.show(flags, answer, () =>
      [
        ...answer.results.map((result) =>
          oneLine(result.passed ? `ok    ${result.name}` : `FAIL  ${result.name}: ${result.problem ?? ""}`),
        ),
        `${counted(passed, "case")} passed, ${failed} failed, rules ${version}`,
      ].join("\n"),
    )
    if (failed > 0) process.exitCode = 1
  }
}

async function objectIn(path: string): Promise<JsonObject> {
  let text: string
  try {
    text = await readFile(path, "utf8")
  } catch (error) {
    const { code = "unknown reason" } = error as NodeJS.ErrnoException
    throw new ClarityError("invalid_params", `the file ${path} cannot be read (${code})`, { cause: error })
  }
  try {
    const value: unknown = JSON.parse(text)
    if (isJsonObject(value)) return value
  } catch (error) {
    throw new ClarityError("invalid_params", `${path} is not valid JSON`, { cause: error })
  }
  throw new ClarityError("invalid_params", `${path} must hold a JSON object`)
}
