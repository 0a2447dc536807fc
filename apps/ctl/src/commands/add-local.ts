import { resolve } from "node:path"
import { Flags } from "@oclif/core"
import { AddingCommand } from "../adding-command.ts"
import { agentFlags, moduleFlags, serviceFlags } from "../services/service-flags.ts"

export class AddLocal extends AddingCommand {
  static override summary = "Register a module that is compiled already."
  static override hidden = true
  static override flags = {
    ...serviceFlags,
    ...moduleFlags,
    ...agentFlags,
    source: Flags.string({ required: true, description: "its source" }),
    module: Flags.string({ required: true, description: "its name" }),
    wasm: Flags.string({ required: true, description: "the module" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(AddLocal)
    process.stderr.write("clarityctl: add-local is deprecated; use clarityctl add FILE\n")
    const wasmPath = resolve(flags.wasm)
    await this.add({ kind: "module", wasmPath, sourceFile: resolve(flags.source) }, { ...flags, agent: flags })
  }
}
