import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as v from "valibot"
import { requestSchema, type RequestInput } from "./requests.ts"

// The attacks that are requests, as data: test/attacks/<group>.json.

export const attacksDir: string = fileURLToPath(new URL("../../test/attacks/", import.meta.url))

const expectSchema = v.strictObject({
  /** 0: no answer at all, the connection ends. */
  status: v.optional(v.union([v.number(), v.array(v.number())])),
  /** JSON-RPC error number, or the text code of an error of the API. */
  code: v.optional(v.union([v.number(), v.string(), v.array(v.union([v.number(), v.string()]))])),
  /** `"absent"`: the answer has no id. `"result"` in `has`: it is no error. */
  id: v.optional(v.unknown()),
  /** A result, not an error. */
  result: v.optional(v.literal(true)),
  /** The code of a failed tool call. */
  failure: v.optional(v.string()),
  /** Patterns that headers match; `null`: not there. */
  headers: v.optional(v.record(v.string(), v.nullable(v.string()))),
  includes: v.optional(v.array(v.string())),
  excludes: v.optional(v.array(v.string())),
  answers: v.optional(v.number()),
  closes: v.optional(v.literal(true)),
  withinMs: v.optional(v.number()),
  /** Calls that reach the upstream; by default none may. */
  upstream: v.optional(v.number()),
})
export type Expected = v.InferOutput<typeof expectSchema>

const inputSchema = v.strictObject({
  as: v.string(),
  /** One input for each value; `{value}` stands for it in every text. */
  each: v.optional(v.array(v.string())),
  /** One input for each route, as `POST /mcp`; `all`: for every route there is. */
  on: v.optional(v.union([v.literal("all"), v.array(v.string())])),
  request: v.optional(requestSchema),
  expect: v.optional(expectSchema),
})

const rowSchema = v.strictObject({
  id: v.string(),
  /** `guarded`: a daemon that asks for a token. */
  daemon: v.optional(v.picklist(["open", "guarded"]), "open"),
  slow: v.optional(v.literal(true)),
  request: v.optional(requestSchema),
  expect: v.optional(expectSchema),
  inputs: v.array(inputSchema),
})

const fileSchema = v.strictObject({ routes: v.optional(v.array(v.string())), rows: v.array(rowSchema) })

/** One request of one row, with everything filled in but what is known only at run time. */
export interface Attack {
  readonly id: string
  readonly as: string
  readonly daemon: "open" | "guarded"
  readonly slow: boolean
  readonly request: RequestInput
  readonly expect: Expected
}

export function readAttacks(): readonly Attack[] {
  const files = readdirSync(attacksDir, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".json") && entry.name !== "rows.json")
    .map(({ name }) => name)
    .sort()
  return files.flatMap((name) => attacksOf(readJson(`${attacksDir}${name}`, fileSchema)))
}

/** Throws with the file and the place in it that is wrong. */
export function readJson<S extends v.GenericSchema>(path: string, schema: S): v.InferOutput<S> {
  const read = v.safeParse(schema, JSON.parse(readFileSync(path, "utf8")))
  if (read.success) return read.output
  throw new Error(`${path}: ${read.issues.map((issue) => `${v.getDotPath(issue)}: ${issue.message}`).join("; ")}`)
}

function attacksOf({ routes = [], rows }: v.InferOutput<typeof fileSchema>): Attack[] {
  return rows.flatMap((row) =>
    row.inputs.flatMap((input) =>
      (input.each ?? [undefined]).flatMap((value) =>
        (input.on === undefined ? [undefined] : input.on === "all" ? routes : input.on).map((route): Attack => {
          const put = <T>(thing: T): T => (value === undefined ? thing : (filled(thing, value) as T))
          const [method, path] = route?.split(" ") ?? []
          const request = {
            ...row.request,
            ...(method === undefined || path === undefined ? {} : { method, path }),
            ...put(input.request),
            headers: { ...row.request?.headers, ...put(input.request?.headers) },
          }
          return {
            id: row.id,
            as: [put(input.as), route].filter(Boolean).join(" | "),
            daemon: row.daemon,
            slow: row.slow === true,
            request,
            expect: { ...row.expect, ...put(input.expect) },
          }
        }),
      ),
    ),
  )
}

/** The same thing with `{value}` replaced in every text of it. */
function filled(thing: unknown, value: string): unknown {
  if (typeof thing === "string") return thing.replaceAll("{value}", () => value)
  if (Array.isArray(thing)) return thing.map((each) => filled(each, value))
  if (typeof thing !== "object" || thing === null) return thing
  return Object.fromEntries(Object.entries(thing).map(([key, each]) => [filled(key, value), filled(each, value)]))
}
