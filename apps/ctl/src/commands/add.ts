import { Args } from "@oclif/core"
import { AddingCommand } from "../adding-command.ts"
import { agentFlags, localFlags, moduleFlags, remoteFlags, serviceFlags } from "../services/service-flags.ts"
import { recognise } from "../services/recognise.ts"

export class Add extends AddingCommand {
  static override summary = "Add a service: a URL, a .wasm file, a .clarity source, or a command after --."
  static override examples = [
    "<%= config.bin %> add https://mcp.example/mcp --auth-ref env:EXAMPLE_TOKEN",
    "<%= config.bin %> add ./tools.clarity",
    "<%= config.bin %> add --name fs -- npx -y @modelcontextprotocol/server-filesystem /tmp",
    "<%= config.bin %> add --name gh --env TOKEN=secret:file:github -- github-mcp-server stdio",
  ]
  static override usage = ["add <URL | file.wasm | file[.clarity]> [flags]", "add [flags] -- COMMAND [ARGUMENTS]"]
  static override args = {
    target: Args.string({ ignoreStdin: true, description: "URL, .wasm file, or .clarity source" }),
  }
  static override flags = { ...serviceFlags, ...localFlags, ...moduleFlags, ...remoteFlags, ...agentFlags }

  async run(): Promise<void> {
    const end = this.argv.indexOf("--")
    const command = end < 0 ? undefined : this.argv.slice(end + 1)
    const { args, flags } = await this.parse(Add, end < 0 ? this.argv : this.argv.slice(0, end))
    await this.add(recognise(args.target, command, process.cwd()), { ...flags, agent: flags })
  }
}
