import { ctl } from "../../../test/e2e/support/ctl.ts"
import { manifest } from "../../../test/e2e/support/daemon.ts"
import { post } from "../../../test/e2e/support/mcp.ts"
import { child, writeTools } from "../child.ts"
import type { Case } from "../finding.ts"
import { answer, registerRogue, said, serveRogue } from "../rogue.ts"
import { steering } from "../steering.ts"

/** Pages, terminals and headers: what strangers say is shown, never obeyed. */
export const pageCases: readonly Case[] = [
  {
    id: "HDR-02",
    quick: true,
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const sent = {
        "set-cookie": ["a=CANARY", "b=CANARY"],
        "x-powered-by": "CANARY",
        "x-evil": "CANARY",
        "access-control-allow-origin": "*",
        location: "http://CANARY/",
        "content-disposition": "attachment",
        refresh: "0; url=http://CANARY/",
        "strict-transport-security": "max-age=0",
        "www-authenticate": "Basic realm=CANARY",
        "clear-site-data": "*",
        server: "CANARY",
        "x-frame-options": "ALLOWALL",
        "proxy-authenticate": "Basic",
        upgrade: "h2c",
        trailer: "X-Evil",
      }
      const upstream = stand.own(
        await serveRogue({
          call(asked, response) {
            for (const [name, value] of Object.entries(sent)) response.setHeader(name, value)
            answer(response, asked, said("x"))
          },
        }),
      )
      const { serviceId } = await registerRogue(daemon, "headed", upstream.url)
      const body = JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "headed__work", arguments: {} },
      })
      const response = await post(`${daemon.url}/mcp`, body)
      for (const name of Object.keys(sent)) same(`${name} of the upstream`, null, response.headers.get(name))
      await response.text()
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "UI-01",
    async run({ stand, same, holds }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const origin = child("probe", folder)
      const markup = [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "'><svg/onload=alert(1)>",
        "javascript:alert(1)",
        "</td></table><iframe src=//evil>",
        "&lt;script&gt;",
        "<a href=javascript:alert(1)>x</a>",
        "{{7*7}}",
        "\u202e<b>",
        "x".repeat(10_000),
      ]
      writeTools(
        folder,
        markup.map((text, at) => ({
          name: `tool_${at}`,
          title: text,
          description: text,
          inputSchema: { type: "object" },
        })),
      )
      for (const text of markup.slice(0, 9)) {
        const given = manifest("shown", origin)
        const { serviceId } = await daemon.register({
          ...given,
          metadata: { ...given.metadata, displayName: text.slice(0, 256) },
        })
        const page = await (await fetch(`${daemon.url}/status`)).text()
        const raw = page.replace(/<style>[^]*?<\/style>/g, "")
        holds(
          `a service named ${text.slice(0, 40)}`,
          "is shown as text",
          !/<script|<img|<svg|<iframe|<a href=["']?javascript|onerror=alert\(1\)>/.test(raw),
          raw.slice(0, 200),
        )
        await daemon.client.removeService({ id: serviceId })
      }
      const { serviceId } = await daemon.register(manifest("shown", origin))
      const page = await (await fetch(`${daemon.url}/status`)).text()
      same("scripts in the page", false, /<script/i.test(page))
      same("a tool's 10,000 characters in the page", false, page.includes("x".repeat(2001)))
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "UI-03",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const texts = [
        "\u001b[31mred\u001b[0m",
        "\u001b]0;title\u0007",
        "\u001b[2J\u001b[H",
        "a\rb",
        "\u009b31m",
        "\u202egnp.exe",
        "\u001b]8;;http://evil/\u0007x\u001b]8;;\u0007",
        "\u001bP+q544e\u001b\\",
        "a\bb",
      ]
      writeTools(
        folder,
        texts.map((text, at) => ({
          name: `tool_${at}`,
          title: text,
          description: text,
          inputSchema: { type: "object" },
        })),
      )
      const given = manifest("steers", child("banner", folder))
      const { serviceId: id } = await daemon.register({
        ...given,
        metadata: { ...given.metadata, displayName: "steers\u001b[31m" },
      })
      for (const args of [
        ["list"],
        ["status"],
        ["details", id],
        ["logs", id],
        ["audit", "--limit", "50"],
        ["call", "steers__echo", "--json", JSON.stringify({ text: "\u001b[31mred" })],
      ]) {
        const { stdout, stderr } = await ctl(daemon, args)
        same(
          `clarityctl ${args.slice(0, 2).join(" ").replace(id, "<id>")} steers the terminal`,
          false,
          steering.test((stdout + stderr).replaceAll("\n", "")),
        )
      }
      await daemon.client.removeService({ id })
    },
  },
]
