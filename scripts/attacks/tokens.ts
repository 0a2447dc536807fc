import type { Scope } from "@clarity-runtime/contracts"
import { createControlClient } from "@clarity-runtime/control/client"
import { manifest, remote, type Daemon, type DaemonOptions } from "../../test/e2e/support/daemon.ts"
import { serveRecorder, type Recorder } from "./recorder.ts"
import type { Stand } from "./stand.ts"

export interface Tokened {
  readonly daemon: Daemon
  readonly recorder: Recorder
  /** Headers of whom the daemon knows as `token:<name>`; `admin` is its first. */
  bearer(name: string): { readonly authorization: string }
}

type Wishes = Readonly<Record<string, { readonly scopes: Scope[]; readonly reach?: string[] }>>

/** A daemon of the case's own with an administrator's token, these others, and the service `canary`. Its client is the administrator's. */
export async function withTokens(stand: Stand, wishes: Wishes, options: DaemonOptions = {}): Promise<Tokened> {
  const recorder = stand.own(await serveRecorder())
  const plain = await stand.fresh(options)
  const { value: admin } = await plain.client.createToken({ name: "admin", scopes: ["admin"] })
  const client = createControlClient({ url: plain.url, token: admin })
  const values = new Map([["admin", admin]])
  for (const [name, wish] of Object.entries(wishes))
    values.set(name, (await client.createToken({ name, ...wish })).value)
  const daemon: Daemon = {
    ...plain,
    client,
    register: async (given) => (await client.applyManifest({ manifest: { ...given }, startNow: true })).service,
  }
  await daemon.register(manifest("canary", remote(recorder.url), { era: "legacy" }))
  return { daemon, recorder, bearer: (name) => ({ authorization: `Bearer ${values.get(name) ?? ""}` }) }
}
