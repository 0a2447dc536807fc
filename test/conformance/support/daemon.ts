import { mkdtempSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { createControlClient, type ControlClient } from "@clarity-runtime/control/client"
import { inRoot } from "./places.ts"
import { fromSource, processesIn, startNode, type Running } from "./process.ts"

type Spec = ServiceManifestInput["spec"]

/** `clarityd` as a process of its own, in a workspace of its own, on a free port. */
export interface RunningDaemon {
  readonly url: string
  readonly workspace: string
  readonly client: ControlClient
  readonly process: Running
  /** Registers a service and waits until it runs; throws with its reason when it does not. */
  add(namespace: string, origin: Spec["origin"], spec?: Omit<Spec, "origin">): Promise<void>
  /** Address of one service's endpoint, by the name that the conformance suite wants. */
  endpoint(namespace: string): string
  /** Stops it as an operator would. Resolves with the exit code and the processes it left behind. */
  stop(): Promise<{ code: number | string; leftovers: number[] }>
}

export async function startDaemon(env: Readonly<Record<string, string>> = {}): Promise<RunningDaemon> {
  const workspace = realpathSync(mkdtempSync(join(tmpdir(), "clarity-e2e-")))
  const running = await startNode({
    args: [fromSource, inRoot("apps/daemon/src/main.ts"), "--workspace", workspace, "--port", "0"],
    cwd: workspace,
    ready: /clarityd listens on (\S+)/,
    env,
  })
  const url = running.ready
  const client = createControlClient({ url })
  return {
    url,
    workspace,
    client,
    process: running,
    async add(namespace, origin, spec = {}) {
      const placed = origin.type === "local_stdio" ? { cwd: workspace, ...origin } : origin
      const manifest: ServiceManifestInput = {
        apiVersion: "clarity.runtime/v1",
        kind: "MCPService",
        metadata: { sourceFile: namespace, module: namespace },
        spec: { toolNamespace: namespace, ...spec, origin: placed },
      }
      const { service } = await client.applyManifest({ manifest: { ...manifest }, startNow: true })
      const { lifecycle, lastError } = service.runtime
      if (lifecycle !== "RUNNING") throw new Error(`${namespace} is ${lifecycle}: ${lastError ?? "no reason is known"}`)
    },
    endpoint: (namespace) => `${url.replace("127.0.0.1", "localhost")}/mcp/${namespace}`,
    async stop() {
      const code = await running.stop()
      const leftovers = processesIn(workspace)
      rmSync(workspace, { recursive: true, force: true })
      return { code, leftovers }
    },
  }
}
