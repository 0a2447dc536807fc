import { mkdirSync, statSync, writeFileSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { networkInterfaces } from "node:os"
import { join } from "node:path"
import { launchDaemon } from "../../../test/e2e/support/daemon.ts"
import { ask, callTool, post } from "../../../test/e2e/support/mcp.ts"
import { serveSigner } from "../authority.ts"
import type { Case } from "../finding.ts"
import { guardToken } from "../stand.ts"
import { withTokens } from "../tokens.ts"
import { sendBytes } from "../wire.ts"

const resource = "http://127.0.0.1/mcp"

async function statusOf(url: string, headers: Record<string, string>, path = "/api/services"): Promise<number> {
  const response = await fetch(`${url}${path}`, { headers })
  await response.text()
  return response.status
}

function configured(workspace: string, oauth: object): void {
  mkdirSync(join(workspace, ".clarity"), { recursive: true })
  writeFileSync(join(workspace, ".clarity", "clarityd.json"), JSON.stringify({ oauth }))
}

/** Median of how long a wrong token takes, in microseconds. */
async function timing(port: number, tokens: readonly [string, string], rounds: number): Promise<[number, number]> {
  const times: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round++)
    for (const which of [0, 1] as const) {
      const bytes = Buffer.from(
        `GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${tokens[which]}\r\nConnection: close\r\n\r\n`,
      )
      times[which].push((await sendBytes({ port, bytes })).ms * 1000)
    }
  const median = (list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
  return [median(times[0]), median(times[1])]
}

/** Who somebody is taken for, and what they may then do. */
export const identityCases: readonly Case[] = [
  {
    id: "AUTH-01",
    async run({ stand, same }) {
      const workspace = stand.folder()
      const signer = stand.own(await serveSigner(resource))
      configured(workspace, { issuer: signer.url, resource, jwksUri: `${signer.url}/jwks` })
      const daemon = await stand.fresh({ workspace })
      const response = await post(`${daemon.url}/mcp`, "{}")
      same(
        "the challenge where an authorization server is named",
        `Bearer resource_metadata="http://127.0.0.1/.well-known/oauth-protected-resource/mcp"`,
        response.headers.get("www-authenticate"),
      )
      const metadata = (await (await fetch(`${daemon.url}/.well-known/oauth-protected-resource/mcp`)).json()) as {
        resource: string
        authorization_servers: string[]
      }
      same("its metadata", [resource, [signer.url]], [metadata.resource, metadata.authorization_servers])
    },
  },
  {
    id: "AUTH-02",
    async run({ stand, holds }) {
      const { port } = await stand.guarded()
      const near = `${guardToken.slice(0, -1)}x`
      const far = "z".repeat(guardToken.length)
      let ratio = Infinity
      // Noise goes both ways and away with tries; a difference in the comparison would not.
      for (let tries = 0; tries < 5 && Math.abs(ratio - 1) > 0.2; tries++) {
        const [first, second] = await timing(port, [near, far], 1000)
        ratio = first / second
      }
      holds(
        "1,000 tokens that differ in the last character against 1,000 that differ in the first",
        "equal time, 20 % more or less",
        Math.abs(ratio - 1) <= 0.2,
        ratio.toFixed(2),
      )
    },
  },
  {
    id: "AUTH-04",
    async run({ stand, same, holds }) {
      const workspace = stand.folder()
      const signer = stand.own(await serveSigner(resource))
      configured(workspace, { issuer: signer.url, resource, jwksUri: `${signer.url}/jwks` })
      const daemon = await stand.fresh({ workspace })
      const now = Math.floor(Date.now() / 1000)
      const use = (token: string) => statusOf(daemon.url, { authorization: `Bearer ${token}` })
      same("a good token", 200, await use(signer.good()))
      const rs256 = { alg: "RS256", kid: "one", typ: "at+jwt" }
      const bad: Record<string, string> = {
        "alg: none": signer.forged({ alg: "none" }, {}, "none"),
        "alg: None": signer.forged({ alg: "None" }, {}, "none"),
        "alg: none, with a kid": signer.forged({ alg: "none", kid: "one" }, {}, "none"),
        "no alg": signer.forged({ kid: "one" }, {}, "empty"),
        "RS256 without a signature": signer.forged(rs256, {}, "empty"),
        "HS256 with the public key": signer.forged({ alg: "HS256", kid: "one" }, {}, "hmac-public"),
        "HS256 without a kid": signer.forged({ alg: "HS256" }, {}, "hmac-public"),
        "signed by another key": signer.forged(rs256, {}, "other-key"),
        "signed by another key, of an unknown kid": signer.forged({ ...rs256, kid: "two" }, {}, "other-key"),
        "its own key in the header": signer.forged(
          { ...rs256, kid: undefined, jwk: { kty: "RSA", n: "x", e: "AQAB" } },
          {},
          "other-key",
        ),
        "a jku of the attacker's": signer.forged({ ...rs256, jku: `${signer.url}/evil` }, {}, "other-key"),
        "an x5u of the attacker's": signer.forged({ ...rs256, x5u: `${signer.url}/evil` }, {}, "other-key"),
        "an unknown critical header": signer.good({}, { crit: ["evil"], evil: true }),
        "another issuer": signer.good({ iss: "https://evil.example" }),
        "the issuer with a slash": signer.good({ iss: `${signer.url}/` }),
        "no issuer": signer.good({ iss: undefined }),
        "another audience": signer.good({ aud: "https://other.example/mcp" }),
        "an audience that begins alike": signer.good({ aud: `${resource}2` }),
        "no audience": signer.good({ aud: undefined }),
        "an empty audience": signer.good({ aud: [] }),
        "ended 61 s ago": signer.good({ exp: now - 61 }),
        "ended an hour ago": signer.good({ exp: now - 3600 }),
        "without an end": signer.good({ exp: undefined }),
        "an end that is a text": signer.good({ exp: "never" }),
        "valid from in two minutes": signer.good({ nbf: now + 120 }),
        "no subject": signer.good({ sub: undefined }),
        "a subject with a line break": signer.good({ sub: "alice\nadmin" }),
        "a subject of 10 kB": signer.good({ sub: "a".repeat(10_000) }),
        "a good one with a changed claim": ((token) =>
          `${token.split(".")[0]}.${Buffer.from(JSON.stringify({ iss: signer.url, aud: resource, sub: "root", scope: "clarity:admin", exp: now + 600 })).toString("base64url")}.${token.split(".")[2]}`)(
          signer.good(),
        ),
      }
      for (const kid of [
        "../../x",
        "/etc/passwd",
        "' OR 1=1 --",
        "http://169.254.169.254/",
        "__proto__",
        "constructor",
        "",
        "one\u0000",
        "../one",
        "one; DROP TABLE keys",
        "x".repeat(4000),
      ])
        bad[`kid ${kid.slice(0, 30)}`] = signer.forged({ ...rs256, kid }, {}, "other-key")
      const before = signer.visits.length
      for (const [what, token] of Object.entries(bad)) same(what, 401, await use(token))
      holds(
        "requests to the authorization server for all of them",
        "keys only, and few",
        signer.visits.slice(before).every(({ path }) => path === "/jwks") && signer.visits.length - before <= 2,
        signer.visits.slice(before).map(({ path }) => path),
      )
      same(
        "a good one that may only read, for what needs more",
        403,
        (await post(`${daemon.url}/api/config/reload`, "{}", { headers: { authorization: `Bearer ${signer.good()}` } }))
          .status,
      )
      same(
        "scopes named like members of objects",
        403,
        await use(signer.good({ scope: "__proto__ constructor toString" })),
      )
      same("a good token, at last", 200, await use(signer.good()))
    },
  },
  {
    id: "AUTH-05",
    async run({ stand, holds }) {
      const ways: Record<string, (response: ServerResponse) => void> = {
        "an error": (response) => void response.writeHead(500).end(),
        HTML: (response) => void response.writeHead(200, { "content-type": "text/html" }).end("<p>"),
        "no JSON": (response) => void response.writeHead(200).end("{"),
        "no keys": (response) => void response.writeHead(200, { "content-type": "application/json" }).end("{}"),
        "keys that are none": (response) =>
          void response
            .writeHead(200, { "content-type": "application/json" })
            .end('{"keys":[null,5,{"kty":"oct","k":"AA"}]}'),
        "5 MB": (response) =>
          void response.writeHead(200, { "content-type": "application/json" }).end("x".repeat(5_000_000)),
        "a redirect inside": (response) => void response.writeHead(302, { location: "http://169.254.169.254/" }).end(),
        "a broken connection": (response) => void response.destroy(),
      }
      for (const [what, answer] of Object.entries(ways)) {
        const workspace = stand.folder()
        const signer = stand.own(await serveSigner(resource))
        signer.breakKeys(answer)
        configured(workspace, { issuer: signer.url, resource, jwksUri: `${signer.url}/jwks` })
        const daemon = await stand.fresh({ workspace })
        for (const headers of [{ authorization: `Bearer ${signer.good()}` }, {}] as Record<string, string>[]) {
          const status = await statusOf(daemon.url, headers)
          holds(
            `its keys are ${what}; ${headers["authorization"] === undefined ? "no token" : "a good token"}`,
            "401 or 503, never let in",
            status === 401 || status === 503,
            status,
          )
        }
        await daemon.stop()
      }
      const workspace = stand.folder()
      mkdirSync(join(workspace, ".clarity", "runtime"), { recursive: true })
      writeFileSync(join(workspace, ".clarity", "runtime", "tokens.json"), '{"version":1,"tok')
      const program = launchDaemon({ workspace })
      const came = await Promise.race([
        program.exited,
        program.says(/listens on (\S+)/).then((match) => match[1] ?? ""),
      ])
      if (typeof came === "string" && came.startsWith("http")) {
        const status = await statusOf(came, {})
        holds("a store of tokens that cannot be read", "nobody is let in", status === 401 || status === 503, status)
        program.child.kill()
        await program.exited
      } else holds("a store of tokens that cannot be read", "the daemon does not start", came !== 0, came)
    },
  },
  {
    id: "AUTH-06",
    async run({ stand, holds, same, skip }) {
      for (const token of [
        "changeme",
        "CHANGEME",
        "change-me",
        "secret-api-key",
        "my-test-key",
        "__REPLACE_ME__",
        "REPLACE_ME",
        "<token>",
        "${TOKEN}",
        "xxxxxxxx",
        "password",
        "your-token-here",
        "undefined",
        "null",
        "00000000",
        "todo",
      ])
        for (const [how, options] of [
          ["variable", { env: { CLARITYD_AUTH_TOKEN: token } }],
          ["flag", { args: ["--auth-token", token] }],
        ] as const) {
          const program = launchDaemon({ workspace: stand.folder(), ...options })
          const came = await Promise.race([program.exited, program.says(/listens on (\S+)/).then(() => "started")])
          if (came === "started") program.child.kill()
          await program.exited
          holds(
            `the ${how} ${token}`,
            "refused with 78, and not repeated",
            came === 78 && !program.stderr().includes(token),
            `${came} ${program.stderr()}`,
          )
        }
      const daemon = await stand.fresh()
      const { token, value } = await daemon.client.createToken({ name: "admin", scopes: ["admin"] })
      holds(
        "the first token",
        "256 random bits",
        Buffer.from(value.slice(value.indexOf("_") + 1), "base64url").length >= 32,
        token.name,
      )
      if (process.platform !== "win32")
        same(
          "the mode of its file",
          0o600,
          statSync(join(daemon.workspace, ".clarity", "runtime", "tokens.json")).mode & 0o777,
        )
      same("without it, from then on", 401, await statusOf(daemon.url, {}))
      const address = otherAddress()
      if (address === undefined) return skip("this machine has no address but loopback")
      const open = await stand.fresh({ args: ["--host", "0.0.0.0"] })
      const { answers } = await sendBytes({
        host: address,
        port: Number(new URL(open.url).port),
        bytes: Buffer.from(`GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`),
      })
      holds(
        "without a token, from another address of this machine",
        "401 or 403",
        [401, 403].includes(answers[0]?.status ?? 0),
        answers[0]?.status,
      )
    },
  },
  {
    id: "AUTH-09",
    async run({ stand, same }) {
      const { daemon, bearer } = await withTokens(stand, { reader: { scopes: ["read"] } })
      for (const name of [
        "x-user",
        "x-principal",
        "x-clarity-principal",
        "x-scope",
        "x-role",
        "x-forwarded-user",
        "x-tenant",
      ]) {
        const response = await post(`${daemon.url}/api/config/reload`, "{}", {
          headers: { ...bearer("reader"), [name]: "admin" },
        })
        same(`a token that may read, with ${name}: admin`, 403, response.status)
        await response.text()
      }
      for (const query of ["?role=admin", "?scope=admin", "?principal=token:admin", "?as=admin"]) {
        const response = await post(`${daemon.url}/api/config/reload${query}`, "{}", { headers: bearer("reader") })
        same(`a token that may read, at ${query}`, 403, response.status)
        await response.text()
      }
      const meta = {
        "io.modelcontextprotocol/principal": "token:admin",
        principal: "admin",
        "dev.clarity-runtime/principal": "token:admin",
      }
      const answer = await ask(
        daemon.url,
        "modern",
        "tools/call",
        { name: "canary__echo", arguments: {} },
        { headers: bearer("reader"), meta },
      )
      same(
        "a token that may read, with a principal in _meta, for a call",
        true,
        answer["error"] !== undefined || answer["result"]?.isError === true,
      )
    },
  },
  {
    id: "AUTH-10",
    quick: true,
    async run({ stand, same }) {
      const { daemon, recorder } = await stand.open()
      const names = [
        "x-upstream-authorization",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "mcp-init-host",
        "x-original-url",
        "x-rewrite-url",
        "x-real-ip",
        "forwarded",
        "x-http-method-override",
        "x-upstream-url",
        "x-target-url",
        "x-backend",
        "x-authenticated-user",
      ]
      for (const name of names) {
        const before = recorder.headers.length
        const result = await callTool(
          daemon.url,
          "canary__echo",
          {},
          { headers: { [name]: "http://evil.example/CANARY" } },
        )
        same(
          name,
          [false, undefined],
          [recorder.headers.slice(before).some((each) => each[name] !== undefined), result["isError"]],
        )
      }
    },
  },
]

function otherAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flat()
  return all.find((each) => each?.family === "IPv4" && !each.internal)?.address
}
