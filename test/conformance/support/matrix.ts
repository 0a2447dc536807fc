import { existsSync } from "node:fs"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { manifest, remote, type Daemon, type Origin } from "../../e2e/support/daemon.ts"
import { inRoot, root, startProgram, type Program } from "../../e2e/support/process.ts"
import type { Revision } from "./suite.ts"

export type Line = "one" | "two"
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
  const list = inRoot(`test/conformance/expected-failures.${service}.${revision}.yml`)
  return !sameEra && existsSync(list) ? list : undefined
}

/** Address of one service's endpoint, by the name that the suite wants. */
export const endpointOf = (daemon: Daemon, service: string): string =>
  `${daemon.url.replace("127.0.0.1", "localhost")}/mcp/${service}`

const fixture = (line: Line): string => inRoot(`test/fixtures/everything/line-${line}.ts`)

/** Starts both everything servers and registers them, in every way the combinations name. The servers are the caller's to stop. */
export async function addEverything(daemon: Daemon): Promise<AsyncDisposable> {
  const programs = { one: serve("one"), two: serve("two") }
  try {
    const services = new Map(combinations.map((each) => [each.service, each]))
    for (const { service, line, over, era } of services.values()) {
      const origin: Origin =
        over === "http"
          ? remote((await programs[line].says(/ready (\S+)/))[1] ?? "")
          : { type: "local_stdio", command: process.execPath, args: [fixture(line), "stdio"], cwd: daemon.workspace }
      const { runtime } = await daemon.register(manifest(service, origin, { era, toolNamespace: service }))
      if (runtime.lifecycle !== "RUNNING") throw new Error(`${service} is ${runtime.lifecycle}: ${runtime.lastError}`)
    }
  } catch (error) {
    await stop()
    throw error
  }
  return { [Symbol.asyncDispose]: stop }

  async function stop(): Promise<void> {
    for (const { child, exited } of Object.values(programs)) {
      child.kill()
      await exited
    }
  }
}

function serve(line: Line): Program {
  return startProgram([fixture(line), "http"], { cwd: root })
}
