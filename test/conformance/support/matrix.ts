import { existsSync } from "node:fs"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { inRoot, root } from "./places.ts"
import type { RunningDaemon } from "./daemon.ts"
import { fromSource, startNode, type Running } from "./process.ts"
import type { Revision } from "./suite.ts"

export type Line = "one" | "two"
type Origin = ServiceManifestInput["spec"]["origin"]
type Era = NonNullable<ServiceManifestInput["spec"]["era"]>

export interface Combination {
  /** Namespace of the service. */
  readonly service: string
  readonly line: Line
  readonly over: "http" | "stdio"
  readonly era: Era
  /** The revision the suite speaks. */
  readonly revision: Revision
  /** The upstream is spoken to in the era of the suite's revision: nothing has to be translated. */
  readonly sameEra: boolean
}

const modern = "2026-07-28"
const legacy = "2025-11-25"
const combination = (
  service: string,
  line: Line,
  over: "http" | "stdio",
  era: Era,
  revision: Revision,
  sameEra: boolean,
): Combination => ({ service, line, over, era, revision, sameEra })

/** Every pair of client era and upstream era, on both lines of the SDK, over HTTP and over pipes. */
export const combinations: readonly Combination[] = [
  combination("two_http", "two", "http", "match", modern, true),
  combination("two_http", "two", "http", "match", legacy, true),
  combination("one_http", "one", "http", "match", legacy, true),
  combination("one_http", "one", "http", "match", modern, false),
  combination("two_http_legacy", "two", "http", "legacy", modern, false),
  combination("two_http_modern", "two", "http", "modern", legacy, false),
  combination("two_stdio", "two", "stdio", "match", modern, true),
  combination("one_stdio", "one", "stdio", "match", legacy, true),
  combination("two_stdio_legacy", "two", "stdio", "legacy", legacy, true),
  combination("two_stdio", "two", "stdio", "match", legacy, false),
  combination("one_stdio", "one", "stdio", "match", modern, false),
  combination("two_stdio_legacy", "two", "stdio", "legacy", modern, false),
]

export function titleOf({ service, revision, sameEra }: Combination): string {
  return `${service} with ${revision} (${sameEra ? "same era" : "cross-era"})`
}

/** The list of checks that cannot pass where the eras differ, each with its reason; none where all do. */
export function expectedFailures({ service, revision, sameEra }: Combination): string | undefined {
  const list = inRoot("test/conformance", `expected-failures.${service}.${revision}.yml`)
  return !sameEra && existsSync(list) ? list : undefined
}

export const fixture = (line: Line): string => inRoot("test/fixtures/everything", `line-${line}.ts`)

/** Starts both everything servers and registers them, in every way the combinations name. The servers are the caller's to stop. */
export async function addEverything(daemon: RunningDaemon): Promise<Running[]> {
  const lines: Line[] = ["one", "two"]
  const servers = await Promise.all(
    lines.map((line) => startNode({ args: [fromSource, fixture(line), "http"], cwd: root, ready: /ready (\S+)/ })),
  )
  const services = new Map(combinations.map((combination) => [combination.service, combination]))
  for (const { service, line, over, era } of services.values()) {
    const endpoint = servers[lines.indexOf(line)]?.ready ?? ""
    const origin: Origin =
      over === "http"
        ? { type: "remote_mcp", endpoint }
        : { type: "local_stdio", command: process.execPath, args: [fixture(line), "stdio"] }
    await daemon.add(service, origin, { era })
  }
  return servers
}
