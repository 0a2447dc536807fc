import type { ServiceStatus } from "@clarity-runtime/contracts"

export interface StatusPage {
  readonly version: string
  readonly endpoint: string
  readonly uptimeSeconds: number
  readonly services: readonly ServiceStatus[]
  readonly notices: readonly string[]
}

/** Nothing but this page's own style may load or run; nobody may frame it. */
export const statusPageHeaders = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
}

/** The status page: every service with its state, health and tools, and what to do next. Plain HTML, no script. */
export function renderStatusPage(page: StatusPage): string {
  const running = page.services.filter((service) => service.lifecycle === "RUNNING").length
  const rows = page.services.map(renderService).join("\n")
  const body =
    page.services.length === 0
      ? `<section class="next"><h2>Nothing is registered yet</h2><p>Add a service of any kind:</p>
<pre>clarityctl add https://example.com/mcp
clarityctl add ./my-module.wasm
clarityctl add --name files -- npx -y @modelcontextprotocol/server-filesystem .</pre></section>`
      : `<table><thead><tr><th>Service</th><th>Origin</th><th>State</th><th>Health</th><th>Offers</th><th>Up</th></tr></thead>
<tbody>${rows}</tbody></table>`
  const notices = page.notices.map((notice) => `<li>${escapeHtml(notice)}</li>`).join("")
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>Clarity Runtime</title><style>${style}</style></head>
<body><header><h1>Clarity Runtime <small>${escapeHtml(page.version)}</small></h1>
<p><strong>${running}</strong> of <strong>${page.services.length}</strong> services running · up ${duration(page.uptimeSeconds)} · <a href="">reload</a></p></header>
${notices === "" ? "" : `<ul class="notices">${notices}</ul>`}
<main>${body}
<section class="next"><h2>Connect a client</h2><p>Point any MCP client at <code>${escapeHtml(page.endpoint)}</code>, or at
<code>${escapeHtml(page.endpoint)}/&lt;namespace&gt;</code> for one service under its own names. Clients that speak stdio only start
<code>clarityctl gateway serve --stdio</code>.</p></section></main></body></html>
`
}

/** Shown to a browser that has not shown the daemon's token: that it runs, nothing more. */
export function renderLockedPage(): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,"><title>Clarity Runtime</title><style>${style}</style></head>
<body><header><h1>Clarity Runtime</h1></header><main><section class="next"><h2>This daemon asks for a token</h2>
<p>Read its state with <code>clarityctl --auth-token … status</code>, or set <code>CLARITYD_AUTH_TOKEN</code>.</p></section></main></body></html>
`
}

function renderService(service: ServiceStatus): string {
  const face = service.interface
  const tools = face?.tools ?? []
  const shown = tools
    .slice(0, 200)
    .map((tool) => `<li><code>${escapeHtml(tool.name)}</code> ${escapeHtml(firstLine(tool["description"]))}</li>`)
  const more = tools.length > shown.length ? `<li>and ${tools.length - shown.length} more</li>` : ""
  const offers =
    face === undefined
      ? "not known yet"
      : `${count(tools.length, "tool")}${face?.prompts.length ? `, ${count(face.prompts.length, "prompt")}` : ""}${face?.resources.length ? `, ${count(face.resources.length, "resource")}` : ""}`
  const next = nextStep(service)
  const reason =
    service.reason === undefined && next === undefined
      ? ""
      : `<p class="reason">${escapeHtml(service.reason ?? "")}${next === undefined ? "" : `<br>→ ${next}`}</p>`
  return `<tr><td><strong>${escapeHtml(service.manifest.metadata.displayName ?? service.namespace)}</strong><br><small>${escapeHtml(service.namespace)} · ${escapeHtml(service.id)}</small>${reason}</td>
<td>${escapeHtml(service.manifest.spec.origin.type)}</td><td><span class="tag ${service.lifecycle.toLowerCase()}">${service.lifecycle}</span></td>
<td><span class="tag ${service.health.toLowerCase()}">${service.health}</span></td>
<td>${tools.length === 0 ? offers : `<details><summary>${offers}${service.stale ? " (stored)" : ""}</summary><ul>${shown.join("")}${more}</ul></details>`}</td>
<td>${service.uptimeSeconds > 0 ? duration(service.uptimeSeconds) : "–"}</td></tr>`
}

/** What an operator can do about a service that does not run as it should, as HTML. */
function nextStep({ lifecycle, health, hint, namespace }: ServiceStatus): string | undefined {
  const said = hint === undefined ? "" : `${escapeHtml(hint)}: `
  if (lifecycle === "STOPPED") return `<code>clarityctl start ${namespace}</code>`
  if (lifecycle === "QUARANTINED")
    return `${said}<code>clarityctl logs ${namespace}</code>, then <code>clarityctl unquarantine ${namespace}</code>`
  if (lifecycle === "CRASHED" || (lifecycle === "RUNNING" && health !== "HEALTHY"))
    return `${said}<code>clarityctl logs ${namespace}</code>`
  return hint === undefined ? undefined : escapeHtml(hint)
}

function firstLine(text: unknown): string {
  return typeof text === "string" ? shortened(text.split("\n", 1)[0] ?? "", 160) : ""
}

function shortened(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text
}

function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`
}

function duration(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor((seconds % 86_400) / 3600), "h"],
    [Math.floor((seconds % 3600) / 60), "min"],
    [Math.floor(seconds % 60), "s"],
  ] as const
  const shown = parts.filter(([n]) => n > 0).slice(0, 2)
  return shown.length === 0 ? "0 s" : shown.map(([n, unit]) => `${n} ${unit}`).join(" ")
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
}

/** Text for HTML; control and direction-changing characters become visible marks. */
function escapeHtml(text: string): string {
  return text
    .slice(0, 2000)
    .replace(/[&<>"']/g, (character) => entities[character] ?? "")
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]|[\u{e0000}-\u{e007f}]/gu,
      "�",
    )
}

const style = `:root{color-scheme:light dark;--line:#8884;--soft:#8882}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1.5rem}
h1{font-size:1.5rem;margin:0}h1 small{font-weight:400;opacity:.6}h2{font-size:1.1rem;margin:0 0 .5rem}header p{margin:.25rem 0 1.5rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.6rem .75rem;border-bottom:1px solid var(--line)}th{font-size:.8rem;opacity:.7}
small{opacity:.65}code,pre{font:.875em ui-monospace,monospace}pre{background:var(--soft);padding:.75rem;border-radius:.4rem;overflow:auto}
.tag{display:inline-block;border-radius:1rem;padding:0 .6rem;font-size:.8rem;background:var(--soft)}
.running,.healthy{background:#1a7f3733;color:light-dark(#116329,#7ee2a8)}.crashed,.quarantined,.unreachable,.unauthorized,.timeout{background:#cf222e33;color:light-dark(#a40e26,#ff9da4)}
.starting,.stopping,.degraded{background:#bf870033;color:light-dark(#7d4e00,#f2cc60)}
.reason{margin:.3rem 0 0;font-size:.9rem}.next{margin-top:2rem;padding:1rem 1.25rem;border:1px solid var(--line);border-radius:.5rem}
.notices{border-left:4px solid #bf8700;padding-left:1.5rem}details ul{margin:.4rem 0 0;padding-left:1.1rem;max-width:34rem}summary{cursor:pointer}`
