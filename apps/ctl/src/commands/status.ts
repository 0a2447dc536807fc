import { Flags } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { serviceTable } from "../output/service-lines.ts"
import { counted, span } from "../output/table.ts"

export class Status extends ControlCommand {
  static override summary = "How the runtime and its services are."
  static override flags = {
    check: Flags.boolean({ description: "exit with 1 when a service has crashed or is quarantined" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(Status)
    const status = await connect(flags).status({})
    const { runtime, gateway, summary, services, notices } = status
    this.show(flags, status, () =>
      [
        `clarityd ${runtime.version}, pid ${runtime.pid}, up ${span(runtime.uptimeSeconds)}, endpoint ${gateway.listen}${gateway.mcpPath}`,
        `${counted(summary.total, "service")}: ${summary.running} running (${summary.healthy} healthy), ${summary.starting} starting, ` +
          `${summary.stopped} stopped, ${summary.crashed} crashed, ${summary.quarantined} quarantined`,
        ...notices.map((notice) => `notice: ${oneLine(notice)}`),
        "",
        serviceTable(services),
      ].join("\n"),
    )
    const broken = services.filter(({ lifecycle }) => lifecycle === "CRASHED" || lifecycle === "QUARANTINED")
    if (flags.check && broken.length > 0) {
      this.found(`not well: ${broken.map(({ namespace, lifecycle }) => `${namespace} (${lifecycle})`).join(", ")}`)
    }
  }
}
