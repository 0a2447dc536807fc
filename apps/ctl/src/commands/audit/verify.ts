import { Flags } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { counted } from "../../output/table.ts"

export class AuditVerify extends ControlCommand {
  static override summary =
    "Walk the chain of the durable audit; exit with 1 when anything was changed, removed or put in."
  static override flags = {
    expect: Flags.string({ description: "a record noted earlier that must still be there, as <seq>:<hash>" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(AuditVerify)
    const { expect } = flags
    const report = await connect(flags).verifyAudit(expect === undefined ? {} : { expect })
    const { records, segments, first, last, unrecorded, problems, ok } = report
    this.show(flags, report, () =>
      [
        `${counted(records, "record")} in ${counted(segments, "segment")}${first === undefined ? "" : `, the oldest is ${first}`}`,
        ...(unrecorded === 0
          ? []
          : [`${counted(unrecorded, "event")} found no room when they happened, as the records themselves tell`]),
        ...problems.map(({ file, line, what }) => oneLine(`problem: ${line === 0 ? "" : `${file}:${line} `}${what}`)),
        ...(last === undefined ? [] : [`head ${last.seq}:${last.hash}`]),
      ].join("\n"),
    )
    if (!ok) this.found(`the audit is not as it was written (${counted(problems.length, "problem")})`)
  }
}
