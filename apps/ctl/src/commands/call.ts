import { readFile } from "node:fs/promises"
import {
  ClarityError,
  errorTable,
  isJsonObject,
  metaKeys,
  parseJson,
  type JsonObject,
} from "@clarity-runtime/contracts"
import { Args, Command, Flags } from "@oclif/core"
import { connect, connectionFlags, type Connection } from "../control-command.ts"
import { printable } from "../output/escape.ts"

const longest = 16_777_216

interface CallFlags extends Connection {
  readonly json: string
  readonly service?: string
  readonly output: "text" | "json"
  readonly raw: boolean
}

export class Call extends Command {
  static override summary = "Call a tool as an MCP client would."
  static override examples = [`<%= config.bin %> call sample__fn__greet --json '{"name":"Ada"}'`]
  static override args = {
    tool: Args.string({
      ignoreStdin: true,
      required: true,
      description: "<namespace>__<tool>, as tools/list names it",
    }),
  }
  static override flags = {
    ...connectionFlags,
    json: Flags.string({
      description: "its arguments, a JSON object; - reads them from standard input, @FILE from a file",
      default: "{}",
    }),
    service: Flags.string({ description: "namespace of one service; the tool then goes by the service's own name" }),
    output: Flags.option({
      options: ["text", "json"] as const,
      default: "text",
      description: "the texts, or the whole result",
    })(),
    raw: Flags.boolean({ description: "print texts byte for byte, control characters included" }),
  }

  async run(): Promise<void> {
    const { args, flags: given } = await this.parse(Call)
    // oclif types every `json` flag as its own boolean one.
    const flags = given as unknown as CallFlags
    const input = argumentsOf(await read(flags.json))
    const { result } = await connect(flags).callTool({
      tool: args.tool,
      arguments: input,
      ...(flags.service === undefined ? {} : { namespace: flags.service }),
    })
    const failed = result["isError"] === true
    const text = flags.output === "json" ? JSON.stringify(result, null, 2) : textOf(result)
    const shown = flags.raw || flags.output === "json" ? text : printable(text)
    if (failed && flags.output === "text") process.stderr.write(`${shown}\n`)
    else process.stdout.write(`${shown}\n`)
    if (failed) process.exitCode = exitOf(result)
  }
}

/** The code of the table of errors where the runtime refused the call, 1 where the tool itself failed. */
function exitOf({ _meta }: JsonObject): number {
  const error = isJsonObject(_meta) ? _meta[metaKeys.error] : undefined
  const code = isJsonObject(error) ? error["code"] : undefined
  const entries: Readonly<Record<string, { readonly exit: number }>> = errorTable
  return typeof code === "string" && Object.hasOwn(errorTable, code) ? (entries[code]?.exit ?? 1) : 1
}

async function read(text: string): Promise<string> {
  if (text === "-") return readAll()
  if (!text.startsWith("@")) return text
  return readFile(text.slice(1), "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new ClarityError(
      "invalid_params",
      `the file ${text.slice(1)} cannot be read (${error.code ?? "unknown reason"})`,
      { cause: error },
    )
  })
}

async function readAll(): Promise<string> {
  let text = ""
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += String(chunk)
    if (text.length > longest)
      throw new ClarityError("payload_too_large", `the arguments are longer than ${longest} characters`)
  }
  return text
}

function argumentsOf(text: string): JsonObject {
  const hint = `here --json takes the tool's arguments, such as --json '{"name":"value"}'; --output json prints the result as JSON`
  let value: unknown
  try {
    value = parseJson(text)
  } catch (error) {
    throw new ClarityError("invalid_params", "the arguments are not valid JSON", { data: { hint }, cause: error })
  }
  if (!isJsonObject(value))
    throw new ClarityError("invalid_params", "the arguments must be a JSON object", { data: { hint } })
  return value
}

/** The texts of a result; what is no text as JSON. */
function textOf({ content, structuredContent }: JsonObject): string {
  const parts = Array.isArray(content) ? content : []
  const texts = parts.map((part: unknown) =>
    isJsonObject(part) && typeof part["text"] === "string" ? part["text"] : JSON.stringify(part),
  )
  if (texts.length > 0) return texts.join("\n")
  return structuredContent === undefined ? "" : JSON.stringify(structuredContent, null, 2)
}
