import { ClarityError } from "@clarity-runtime/contracts"
import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { readSecret } from "../../read-secret.ts"

export class SetSecret extends ControlCommand {
  static override summary = "Store the value of a file: reference."
  static override description =
    "The value comes from standard input, is asked for on a terminal, or is given as an argument."
  static override examples = ["<%= config.bin %> auth set-secret file:github < token.txt"]
  static override args = {
    ref: Args.string({ ignoreStdin: true, required: true, description: "file:path" }),
    secret: Args.string({
      ignoreStdin: true,
      description: "the value; other users of this machine and your shell's history can see it here",
    }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(SetSecret)
    if (args.secret !== undefined) {
      process.stderr.write("clarityctl: note: the secret is in your shell's history now; standard input keeps it out\n")
    }
    const secret = args.secret ?? (await readSecret(`value of ${args.ref}: `))
    if (secret === "") throw new ClarityError("invalid_params", "the secret is empty")
    const answer = await connect(flags).setAuthSecret({ authRef: args.ref, secret })
    this.show(flags, answer, () => oneLine(`${answer.authRef} written`))
  }
}
