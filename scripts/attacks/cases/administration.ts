import { manifest } from "../../../test/e2e/support/daemon.ts"
import { ask, post } from "../../../test/e2e/support/mcp.ts"
import { born, child } from "../child.ts"
import type { Case } from "../finding.ts"
import { withTokens } from "../tokens.ts"

/** What may only be done by whom it was given to. */
export const administrationCases: readonly Case[] = [
  {
    id: "ADM-01",
    async run({ stand, same }) {
      const { daemon, bearer } = await withTokens(
        stand,
        {
          reader: { scopes: ["read"] },
          caller: { scopes: ["read", "call"] },
          operator: { scopes: ["operate"] },
          narrow: { scopes: ["admin"], reach: ["canary"] },
        },
        { env: { CLARITY_ENABLE_MCP_PROVISIONING: "1" } },
      )
      const folder = stand.folder()
      const given = manifest("spawned", child("probe", folder))
      for (const who of ["reader", "caller", "operator", "narrow"]) {
        for (const body of [{ manifest: given, startNow: true }, { manifest: given }]) {
          const response = await post(`${daemon.url}/api/services/apply`, JSON.stringify(body), {
            headers: bearer(who),
          })
          same(`${who} registers a command, ${"startNow" in body ? "started now" : "kept"}`, 403, response.status)
          await response.text()
        }
        const answer = await ask(
          daemon.url,
          "modern",
          "tools/call",
          { name: "runtime__apply_manifest", arguments: { manifest: given } },
          { headers: bearer(who) },
        )
        same(
          `${who} registers a command by the tool`,
          true,
          answer["error"] !== undefined || answer["result"]?.isError === true,
        )
      }
      for (const [method, path, body] of [
        ["POST", "/api/tokens", { name: "mine", scopes: ["admin"] }],
        ["POST", "/api/security/auth/secrets", { authRef: "file:x", secret: "y" }],
        ["POST", "/api/policy/reload", {}],
        ["POST", "/api/config/reload", {}],
        ["DELETE", "/api/services/svc_000000000000", undefined],
      ] as const)
        for (const who of ["reader", "caller", "operator"]) {
          const response = await fetch(`${daemon.url}${path}`, {
            method,
            headers: { ...bearer(who), "content-type": "application/json" },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          })
          same(`${who}: ${method} ${path}`, 403, response.status)
          await response.text()
        }
      same("processes that were spawned", [], born(folder))
    },
  },
  {
    id: "ADM-02",
    async run({ stand, same, holds }) {
      const { daemon, bearer } = await withTokens(stand, { operator: { scopes: ["read", "call", "operate"] } })
      const folder = stand.folder()
      const given = manifest("spawned", child("probe", folder), { autostart: false })
      for (const path of [
        "/api/services:test",
        "/api/services/test",
        "/api/services/preview",
        "/api/services/validate",
        "/api/services/apply?dryRun=1",
        "/mcp-rest/test/connection",
        "/api/servers",
        "/mcp-proxy/server/stdio",
        "/api/call",
        "/api/security/auth/validate",
      ])
        for (const who of ["operator", "admin"]) {
          const response = await post(
            `${daemon.url}${path}`,
            JSON.stringify({ ...given, manifest: given, command: process.execPath, args: ["-e", "0"] }),
            { headers: bearer(who) },
          )
          const text = await response.text()
          holds(
            `${who}: ${path} with a command`,
            "spawns nothing",
            response.status >= 400 || (path.includes("apply") && who === "admin"),
            `${response.status} ${text.slice(0, 100)}`,
          )
        }
      const shown = await fetch(`${daemon.url}/mcp-proxy/server/stdio?command=${process.execPath}&args=-e`, {
        headers: bearer("admin"),
      })
      same("a GET with a command in its query", 404, shown.status)
      await daemon.client.applyManifest({ manifest: { ...given } })
      same("processes that were spawned, a registration without a start included", [], born(folder))
      for (const id of (await daemon.client.listServices({})).items
        .filter(({ module }) => module === "spawned")
        .map(({ serviceId }) => serviceId)) {
        const { origin } = (await daemon.client.getService({ id })).service.manifest["spec"] as {
          origin: { command: string; args: string[] }
        }
        same(
          "what an operator sees before it is started",
          [process.execPath, "probe"],
          [origin.command, origin.args[1]],
        )
      }
    },
  },
]
