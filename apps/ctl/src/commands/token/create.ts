import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { expiryOf } from "../../expiry.ts"
import { oneLine } from "../../output/escape.ts"

const scopes = ["read", "call", "operate", "admin"] as const

export class TokenCreate extends ControlCommand {
  static override summary = "Make a token. Its value is printed once, alone on standard output."
  static override examples = [
    "<%= config.bin %> token create me --scope admin",
    "<%= config.bin %> token create ci --scope call --reach 'notes/*' --expires 30d",
  ]
  static override args = {
    name: Args.string({ ignoreStdin: true, required: true, description: "the caller is then token:<name>" }),
  }
  static override flags = {
    scope: Flags.option({ options: scopes, multiple: true, multipleNonGreedy: true, required: true })({
      description: "what it may do; repeatable; admin implies the others",
    }),
    reach: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      description: "service, or service/tool, with * for any characters; repeatable; without it: everything",
    }),
    expires: Flags.string({ description: "after 90m, 12h, 30d, 2w, or at a time; without it: never" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(TokenCreate)
    const answer = await connect(flags).createToken({
      name: args.name,
      scopes: [...new Set(flags.scope)],
      ...(flags.reach === undefined ? {} : { reach: flags.reach }),
      ...(flags.expires === undefined ? {} : { expiresAt: expiryOf(flags.expires, Date.now()) }),
    })
    const { name, reach, expiresAt } = answer.token
    this.show(flags, answer, () => answer.value)
    if (flags.json) return
    const where = reach === undefined ? "everything" : reach.join(", ")
    const what = `token:${name}: ${answer.token.scopes.join(", ")} on ${where}, ${expiresAt === undefined ? "without end" : `until ${expiresAt}`}.`
    process.stderr.write(
      `${oneLine(what)} Its value is not shown again; put it into CLARITYD_AUTH_TOKEN to use it here.\n`,
    )
  }
}
