import { remoteManifest, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { fakeContext } from "../../test/fakes.ts"
import { fakeLogins } from "../../test/fake-logins.ts"
import { served } from "../../test/serve.ts"

async function stage(authRef?: string) {
  const { context, registry } = fakeContext()
  const logins = fakeLogins()
  const ask = served({ ...context, logins })
  const far = await registry.put(remoteManifest({ name: "far", origin: authRef === undefined ? {} : { authRef } }))
  const near = await registry.put(stdioManifest())
  const origin = () => registry.snapshot().services.get(far.id)?.manifest.spec.origin
  return { ask, far, near, logins, origin, context }
}

describe("a login", () => {
  it("is begun for the endpoint of the manifest, and gives a service without a credential its authRef", async () => {
    const { ask, far, logins, origin } = await stage()
    const answer = await ask("POST", `/api/services/${far.id}/login`, { flow: "device", scopes: ["read"] })
    expect([answer.status, await answer.json()]).toMatchObject([
      200,
      { login: { id: "login_1", state: "waiting", userCode: "AB-CD", expiresAt: "2027-01-15T08:00:00.000Z" } },
    ])
    const { endpoint } = far.manifest.spec.origin as { endpoint: string }
    expect(logins.wishes).toEqual([{ serviceId: far.id, endpoint, flow: "device", scopes: ["read"] }])
    expect(origin()).toMatchObject({ authRef: "oauth:" })
  })

  it("leaves another credential alone, and needs a remote service", async () => {
    const { ask, far, near, logins, origin } = await stage("env:KEY")
    expect((await ask("POST", `/api/services/${far.id}/login`, {})).status).toBe(409)
    expect((await ask("POST", `/api/services/${near.id}/login`, {})).status).toBe(400)
    expect([logins.wishes, origin()]).toMatchObject([[], { authRef: "env:KEY" }])
  })

  it("that nobody knows is not found", async () => {
    const { ask } = await stage()
    expect((await ask("GET", "/api/logins/other")).status).toBe(404)
  })
})

describe("a binding", () => {
  it("goes to the origin of the endpoint, to a process, or where it is told", async () => {
    const { ask, far, near, context } = await stage()
    const bind = (body: object) => ask("POST", "/api/security/auth/bindings", { authRef: "env:KEY", ...body })
    const { origin } = new URL((far.manifest.spec.origin as { endpoint: string }).endpoint)
    expect(await (await bind({ id: far.id })).json()).toMatchObject({ binding: { serviceId: far.id, origin } })
    expect((await (await bind({ id: near.id })).json()) as object).not.toHaveProperty("binding.origin")
    await bind({ id: far.id, origin: "https://auth.example" })
    expect(context.bindings?.list()[0]).toMatchObject({ origin: "https://auth.example" })
    expect((await bind({ id: "svc_none" })).status).toBe(404)
  })
})
