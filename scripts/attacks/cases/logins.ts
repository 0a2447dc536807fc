import type { ServerResponse } from "node:http"
import { ask } from "../../../test/e2e/support/mcp.ts"
import { json, serveSite, type Site } from "../authority.ts"
import type { Case } from "../finding.ts"
import { begin, good, paths, register, serveLogin, type Parts } from "../login-site.ts"

/** Logins at authorization servers that lie. */
export const loginCases: readonly Case[] = [
  {
    id: "OAU-01",
    async run({ stand, holds, same }) {
      const { daemon } = await stand.open()
      const inside = stand.own(await serveSite((_visit, response) => json(response, {})))
      const places = [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/x",
        "http://[fd00:ec2::254]/x",
        "https://10.0.0.1/x",
        "https://192.168.1.1/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::a9fe:a9fe]/x",
        "http://metadata.google.internal/",
        "http://metadata.example/x",
        "file:///etc/passwd",
        "ftp://x/y",
        "javascript:alert(1)",
        "data:application/json,{}",
        "https://user:pw@example.com/x",
        "https://example.com/x#y",
        `https://example.com/${"x".repeat(4000)}`,
        "//example.com/x",
        "x",
        "",
      ]
      for (const place of places) {
        const site = await serveLogin(stand, { challenge: () => `Bearer resource_metadata="${place}"` })
        const id = await register(daemon, site)
        const { status, text } = await begin(daemon, id)
        holds(
          `resource_metadata="${place.slice(0, 60)}"`,
          "an error, and nobody else is asked",
          status >= 400 && !text.includes("meta-data") && !paths(site).includes("/token"),
          `${status} ${text.slice(0, 200)} ${paths(site).join(" ")}`,
        )
        await daemon.client.removeService({ id })
      }
      for (const [what, parts] of Object.entries<Parts>({
        "an authorization server inside": { resource: () => ({ authorization_servers: ["https://10.0.0.1"] }) },
        "an authorization server by plain http": {
          resource: () => ({ authorization_servers: ["http://auth.example"] }),
        },
        "a metadata service as authorization server": {
          resource: () => ({ authorization_servers: ["https://169.254.169.254"] }),
        },
        "a token endpoint inside": { server: () => ({ token_endpoint: "https://10.0.0.1/token" }) },
        "a token endpoint by plain http": { server: () => ({ token_endpoint: "http://auth.example/token" }) },
        "a registration inside": { server: () => ({ registration_endpoint: "https://169.254.169.254/register" }) },
        "a redirect of the metadata": { challenge: (url) => `Bearer resource_metadata="${url}/elsewhere"` },
        "another resource": { resource: () => ({ resource: "https://bank.example/mcp" }) },
        "another issuer": { server: () => ({ issuer: "https://auth.example" }) },
        "no PKCE": { server: () => ({ code_challenge_methods_supported: undefined }) },
        "plain PKCE": { server: () => ({ code_challenge_methods_supported: ["plain"] }) },
        "1,000 authorization servers": {
          resource: (url) => ({ authorization_servers: Array.from({ length: 1000 }, () => url) }),
        },
        "5 MB of metadata": { resource: () => ({ x: "x".repeat(5_000_000) }) },
      })) {
        const site = await serveLogin(stand, parts)
        const id = await register(daemon, site)
        const { status, text } = await begin(daemon, id)
        const refusedLater = what === "a token endpoint inside"
        holds(
          `metadata with ${what}`,
          "an error, and no token is asked for",
          (status >= 400 || refusedLater) && !paths(site).includes("/token"),
          `${status} ${text.slice(0, 200)}`,
        )
        await daemon.client.removeService({ id })
      }
      same("requests that reached another server of this machine", 0, inside.visits.length)
    },
  },
  {
    id: "OAU-02",
    async run({ stand, holds, same }) {
      const daemon = await stand.fresh({ env: { CLIENT_SECRET: "client-CANARY" } })
      const attacker = await serveLogin(stand, { token: (_visit, response) => json(response, good) })
      let first = false
      const victim: Site = await serveLogin(stand, {
        takes: (authorization) => authorization === "Bearer access-CANARY",
        resource: (url) => ({ authorization_servers: first ? [attacker.url, url] : [url] }),
        token: (visit, response) =>
          visit.body.includes("refresh_token=")
            ? json(response, { error: "invalid_grant" }, 400)
            : json(response, { ...good, expires_in: 1, refresh_token: "refresh-CANARY" }),
      })
      const id = await register(daemon, victim)
      const wish = {
        flow: "client_credentials",
        clientId: "client",
        clientSecretRef: "env:CLIENT_SECRET",
        issuer: victim.url,
      }
      const done = await begin(daemon, id, wish)
      same("a login at the right server", 200, done.status)
      first = true
      await daemon.client.startService({ id })
      for (let round = 0; round < 5; round++)
        await ask(daemon.url, "modern", "tools/call", { name: "logging__work", arguments: {} })
      const again = await begin(daemon, id, wish)
      holds(
        "the right one named again, the attacker's first in the list",
        "works, or is refused",
        again.status < 500,
        again.status,
      )
      const blind = await begin(daemon, id, {
        flow: "client_credentials",
        clientId: "client",
        clientSecretRef: "env:CLIENT_SECRET",
      })
      holds(
        "none named, the attacker's first in the list",
        "is refused: which one must be said",
        blind.status >= 400,
        `${blind.status} ${blind.text.slice(0, 200)}`,
      )
      const sent = attacker.visits.map(({ body, headers }) => `${body} ${JSON.stringify(headers)}`).join("\n")
      same("secrets and tokens that reached the attacker", false, /CANARY/.test(sent))
    },
  },
  {
    id: "OAU-04",
    async run({ stand, holds, same }) {
      const { daemon } = await stand.open()
      const site = await serveLogin(stand, { token: (_visit, response) => json(response, good), takes: () => true })
      const id = await register(daemon, site)
      const fresh = async () => {
        const { url } = await begin(daemon, id)
        const query = new URL(url).searchParams
        return { state: query.get("state") ?? "", query }
      }
      const back = async (
        more: Record<string, string | readonly string[]>,
        path = "/oauth/callback",
        method = "GET",
      ) => {
        const query = new URLSearchParams()
        for (const [key, value] of Object.entries(more)) for (const each of [value].flat()) query.append(key, each)
        const response = await fetch(`${daemon.url}${path}?${query}`, { method, redirect: "manual" })
        return { status: response.status, text: await response.text() }
      }
      const begun = await fresh()
      same(
        "PKCE",
        ["S256", true],
        [begun.query.get("code_challenge_method"), (begun.query.get("code_challenge") ?? "").length >= 43],
      )
      same("the state", true, begun.state.length >= 32)
      const tokens = () => paths(site).filter((path) => path === "/token").length
      const wrong: [what: string, (state: string) => Record<string, string | readonly string[]>][] = [
        ["no state", () => ({ code: "c", iss: site.url })],
        ["an empty state", () => ({ code: "c", state: "", iss: site.url })],
        ["another state", () => ({ code: "c", state: "x".repeat(43), iss: site.url })],
        ["a state of 10 kB", () => ({ code: "c", state: "x".repeat(10_000), iss: site.url })],
        ["__proto__ as state", () => ({ code: "c", state: "__proto__", iss: site.url })],
        ["two states", (state) => ({ code: "c", state: [state, "x"], iss: site.url })],
        ["another issuer", (state) => ({ code: "c", state, iss: "https://evil.example" })],
        ["no issuer, where the server says it", (state) => ({ code: "c", state })],
        ["no code", (state) => ({ state, iss: site.url })],
        ["two codes", (state) => ({ code: ["c", "d"], state, iss: site.url })],
        [
          "an error",
          (state) => ({ error: "access_denied", error_description: "<script>CANARY</script>", state, iss: site.url }),
        ],
        ["an error and a code", (state) => ({ error: "x", code: "c", state, iss: site.url })],
      ]
      for (const [what, query] of wrong) {
        const { state } = await fresh()
        const { status, text } = await back(query(state))
        holds(
          what,
          "400, nothing exchanged, nothing repeated",
          status === 400 && tokens() === 0 && !text.includes("CANARY"),
          `${status} ${text} ${tokens()}`,
        )
      }
      for (const path of [
        "/oauth/callback/",
        "/oauth/callback/x",
        "/oauth/callback%2f",
        "/OAUTH/callback",
        "/oauth/callback;x",
      ]) {
        const { state } = await fresh()
        const { status } = await back({ code: "c", state, iss: site.url }, path)
        holds(`a redirect to ${path}`, "404, nothing exchanged", status === 404 && tokens() === 0, status)
      }
      const posted = await fresh()
      const { status } = await back({ code: "c", state: posted.state, iss: site.url }, "/oauth/callback", "POST")
      holds("a POST", "refused, nothing exchanged", status >= 400 && tokens() === 0, status)
      const once = await fresh()
      same("as it should be", 200, (await back({ code: "c", state: once.state, iss: site.url })).status)
      same("the same a second time", 400, (await back({ code: "c", state: once.state, iss: site.url })).status)
      same("exchanges in all", 1, tokens())
      const exchange = site.visits.find(({ path }) => path === "/token")?.body ?? ""
      const redirect = new URLSearchParams(exchange).get("redirect_uri")
      same("the redirect that is sent with the code", once.query.get("redirect_uri"), redirect)
      await daemon.client.removeService({ id })
    },
  },
  {
    id: "OAU-05",
    async run({ stand, holds }) {
      const { daemon } = await stand.open()
      for (const address of [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "$(calc)",
        'a" & calc',
        "ms-settings:",
        "http://auth.example/authorize",
        "data:text/html,x",
        "vscode://x",
        "`id`",
        "",
        "//auth.example/authorize",
        `https://auth.example/${"x".repeat(10_000)}`,
        17,
        null,
        ["https://auth.example/"],
        "https://user:pw@auth.example/authorize",
      ]) {
        const site = await serveLogin(stand, { server: () => ({ authorization_endpoint: address }) })
        const id = await register(daemon, site)
        const { status, text } = await begin(daemon, id)
        holds(
          `authorization_endpoint ${JSON.stringify(address).slice(0, 60)}`,
          "refused, and not repeated",
          status >= 400 && !/calc|passwd|alert\(1\)/.test(text),
          `${status} ${text.slice(0, 200)}`,
        )
        await daemon.client.removeService({ id })
      }
      for (const address of [
        `https://auth.example/a?x="&calc|'$(id)`,
        "https://auth.example/a?client_id=evil&state=evil&redirect_uri=evil",
      ]) {
        const site = await serveLogin(stand, { server: () => ({ authorization_endpoint: address }) })
        const id = await register(daemon, site)
        const { url } = await begin(daemon, id)
        const query = URL.parse(url)?.searchParams
        holds(
          `${address}: what it brings along`,
          "stays data, and does not replace what is ours",
          /^https:\/\/auth\.example\/a\?[^\s"<>`\\|$]*$/.test(url) &&
            query?.getAll("client_id").join() === "client" &&
            query.getAll("state").length === 1,
          url,
        )
        await daemon.client.removeService({ id })
      }
    },
  },
  {
    id: "OAU-06",
    async run({ stand, holds, same }) {
      const daemon = await stand.fresh({ env: { CLIENT_SECRET: "s3cret" } })
      const answers: Record<string, (response: ServerResponse) => void> = {
        "5 MB": (response) => json(response, { ...good, x: "x".repeat(5_000_000) }),
        "no JSON": (response) => void response.writeHead(200, { "content-type": "application/json" }).end("{CANARY"),
        HTML: (response) => void response.writeHead(200, { "content-type": "text/html" }).end("<b>CANARY</b>"),
        "expires_in -1": (response) => json(response, { ...good, expires_in: -1 }),
        "expires_in 0": (response) => json(response, { ...good, expires_in: 0 }),
        "expires_in 1e99": (response) => json(response, { ...good, expires_in: 1e99 }),
        "expires_in x": (response) => json(response, { ...good, expires_in: "x" }),
        "expires_in {}": (response) => json(response, { ...good, expires_in: {} }),
        "token_type mac": (response) => json(response, { ...good, token_type: "mac" }),
        "token_type DPoP": (response) => json(response, { ...good, token_type: "DPoP" }),
        "no token_type": (response) => json(response, { ...good, token_type: undefined }),
        "no token": (response) => json(response, { token_type: "Bearer" }),
        "an empty token": (response) => json(response, { ...good, access_token: "" }),
        "a token that is a number": (response) => json(response, { ...good, access_token: 5 }),
        "a token with a line break": (response) => json(response, { ...good, access_token: "CANARY\r\nx: y" }),
        "a token of 20 kB": (response) => json(response, { ...good, access_token: "x".repeat(20_000) }),
        "a redirect": (response) => void response.writeHead(307, { location: "https://evil.example/token" }).end(),
        "an error with words": (response) => json(response, { error: "CANARY", error_description: "CANARY" }, 400),
        "a broken connection": (response) => void response.destroy(),
        "204": (response) => void response.writeHead(204).end(),
        "a list": (response) => json(response, [good]),
        null: (response) => json(response, null),
      }
      for (const [what, token] of Object.entries(answers)) {
        const site = await serveLogin(stand, { token: (_visit, response) => token(response) })
        const id = await register(daemon, site, `l${Object.keys(answers).indexOf(what)}`)
        await daemon.client.bindAuthRef({ authRef: "env:CLIENT_SECRET", id }).catch(() => undefined)
        const { status, text } = await begin(daemon, id, {
          flow: "client_credentials",
          clientId: "client",
          clientSecretRef: "env:CLIENT_SECRET",
          issuer: site.url,
        })
        const kept = JSON.stringify((await daemon.client.listLogins({})).items).includes(id)
        holds(
          what,
          "a bounded error, nothing kept, nothing repeated",
          status >= 400 && !text.includes("CANARY") && !kept,
          `${status} ${text.slice(0, 200)} ${kept}`,
        )
        await daemon.client.removeService({ id })
      }
      same("logins that are held", [], (await daemon.client.listLogins({})).items)
    },
  },
  {
    id: "OAU-08",
    async run({ stand, holds }) {
      const daemon = await stand.fresh({ env: { CLIENT_SECRET: "s3cret" } })
      let grants = 0
      let more = false
      const site = await serveLogin(stand, {
        challenge: () => (more ? `Bearer error="insufficient_scope", scope="more-${grants}"` : "Bearer"),
        takes: () => !more,
        token: (_visit, response) => json(response, { ...good, access_token: `access-${++grants}` }),
      })
      const id = await register(daemon, site)
      await begin(daemon, id, {
        flow: "client_credentials",
        clientId: "client",
        clientSecretRef: "env:CLIENT_SECRET",
        issuer: site.url,
      })
      await daemon.client.startService({ id })
      more = true
      const before = { grants, calls: paths(site).filter((path) => path === "/mcp").length }
      const answer = await ask(daemon.url, "modern", "tools/call", { name: "logging__work", arguments: {} })
      const after = {
        grants: grants - before.grants,
        calls: paths(site).filter((path) => path === "/mcp").length - before.calls,
      }
      holds(
        "an upstream that always wants another scope",
        "one try more, then an error",
        after.grants <= 1 && after.calls <= 4 && answer["result"]?.isError === true,
        `${JSON.stringify(after)} ${JSON.stringify(answer).slice(0, 200)}`,
      )
    },
  },
]
