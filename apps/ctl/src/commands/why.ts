import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"

export class Why extends ControlCommand {
  static override summary = "Why a tool may be called, may not, or needs a person's approval; nothing is called."
  static override examples = [
    "<%= config.bin %> why notes__delete_note --as token:ci",
    "<%= config.bin %> why --resource file:///x --service notes",
  ]
  static override args = {
    tool: Args.string({ ignoreStdin: true, description: "<namespace>__<tool>, as tools/list names it" }),
  }
  static override flags = {
    as: Flags.string({ description: "whom to decide for: token:ci, local; default: you" }),
    service: Flags.string({ description: "id or namespace of the service; names are then the service's own" }),
    prompt: Flags.string({ description: "ask about a prompt instead" }),
    resource: Flags.string({ description: "ask about a resource instead, by the service's own URI" }),
    method: Flags.string({ description: "another MCP method than the one that uses it" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Why)
    const { as, service, prompt, resource, method } = flags
    const asked = { tool: args.tool, as, service, prompt, resource, method }
    const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined))
    const answer = await connect(flags).explainPolicy(given)
    const { effect, principal, target, steps, visible, version } = answer
    const listed = visible ? "" : ", and it looks like something that does not exist"
    this.show(flags, answer, () =>
      [
        oneLine(`${words[effect]}: ${principal}, ${target} of ${answer.service}${listed}`),
        ...steps.map((step) => `  ${oneLine(step)}`),
        `rules ${version}`,
      ].join("\n"),
    )
  }
}

const words = { allow: "allowed", deny: "denied", ask: "needs approval" }
