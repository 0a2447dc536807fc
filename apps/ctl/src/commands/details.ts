import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { interfaceLine, troubleOf } from "../output/service-lines.ts"
import { shortened, span, table } from "../output/table.ts"
import { findService } from "../services/find-service.ts"

const most = { min: 1, max: 2000 }

export class Details extends ControlCommand {
  static override summary = "All about one service: state, interface, last log lines, events, calls."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }
  static override flags = {
    "log-limit": Flags.integer({ default: 50, ...most, description: "lines of the log" }),
    "event-limit": Flags.integer({ default: 100, ...most, description: "events" }),
    "call-limit": Flags.integer({ default: 20, ...most, description: "calls" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Details)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    const details = await client.getDetails({
      id: serviceId,
      logLimit: flags["log-limit"],
      eventLimit: flags["event-limit"],
      callLimit: flags["call-limit"],
    })
    this.show(flags, details, () => words(details))
  }
}

type Answer = Awaited<ReturnType<ReturnType<typeof connect>["getDetails"]>>

function words({ summary, service, interface: face, logs, events, recentCalls }: Answer): string {
  const { runtime } = service
  const trouble = troubleOf(summary)
  const lines = [
    `${summary.displayName ?? summary.module} (${service.serviceId})`,
    `  names       ${summary.namespace}__*`,
    `  state       ${runtime.lifecycle} ${runtime.health}${runtime.lifecycle === "RUNNING" ? `, up ${span(runtime.uptimeSeconds)}` : ""}`,
    ...(trouble === "" ? [] : [`  trouble     ${trouble}`]),
    `  wanted      ${runtime.desired}, ${runtime.restartCount} restarts`,
    ...(runtime.pid === undefined ? [] : [`  process     pid ${runtime.pid}${memory(runtime.rssBytes)}`]),
    `  origin      ${summary.originType} ${summary.sourceFile}`,
    `  interface   ${interfaceLine(summary.interface)}`,
    ...section(
      "tools",
      face.tools.map((tool) => [String(tool["name"]), shortened(oneLine(String(tool["description"] ?? "")), 100)]),
    ),
    ...section(
      "calls",
      recentCalls.toReversed().map(({ at, message }) => [at, message]),
    ),
    ...section(
      "events",
      events.toReversed().map(({ at, kind, message }) => [at, kind, message]),
    ),
    ...(logs.length === 0 ? [] : ["", "log", ...logs.toReversed().map((line) => `  ${line}`)]),
  ]
  return lines.map(oneLineKeepingIndent).join("\n")
}

function section(title: string, rows: readonly string[][]): string[] {
  if (rows.length === 0) return []
  const [, ...body] = table(rows[0]?.map(() => "") ?? [], rows).split("\n")
  return ["", title, ...body.map((line) => `  ${line}`)]
}

function memory(bytes: number | undefined): string {
  return bytes === undefined ? "" : `, ${Math.round(bytes / 1_048_576)} MB`
}

function oneLineKeepingIndent(line: string): string {
  return (/^ */.exec(line)?.[0] ?? "") + oneLine(line)
}
