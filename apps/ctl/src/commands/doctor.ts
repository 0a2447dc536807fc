import { Flags } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { checkCompiler, checkDaemon, checkWorkspace } from "../doctor-checks.ts"
import { table } from "../output/table.ts"
import { moduleFlags } from "../services/service-flags.ts"

export class Doctor extends ControlCommand {
  static override summary =
    "Check the daemon, its state, the compiler and the workspace, and say how to mend what is broken."
  static override flags = {
    "compiler-bin": moduleFlags["compiler-bin"],
    workspace: Flags.string({ default: ".", description: "folder to look at" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Doctor)
    const daemon = await checkDaemon(connect(flags))
    const checks = [...daemon.checks, await checkCompiler(flags["compiler-bin"]), await checkWorkspace(flags.workspace)]
    const broken = checks.filter(({ status }) => status === "fail")
    this.show(flags, { ok: broken.length === 0, checks, status: daemon.status ?? null }, () =>
      table(
        ["CHECK", "", "DETAIL"],
        checks.map(({ name, status, detail, fix }) => [
          name,
          status,
          fix === undefined ? detail : `${detail} - ${fix}`,
        ]),
      ),
    )
    if (broken.length > 0) this.found(`not ready: ${broken.map(({ name }) => name).join(", ")}`)
  }
}
