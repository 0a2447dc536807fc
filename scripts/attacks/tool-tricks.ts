// What tools may be described with, good and bad.

export const hidden: Readonly<Record<string, string>> = {
  "zero-width space": "a\u200bb",
  "zero-width no-break space": "a\ufeffb",
  "word joiner": "a\u2060b",
  "right-to-left override": "a\u202eb",
  isolates: "a\u2066b\u2069",
  "tag characters": `a${[..."ignore"].map((each) => String.fromCodePoint(0xe0000 + each.charCodeAt(0))).join("")}b`,
  colours: "a\u001b[31mb\u001b[0m",
  "a terminal title": "a\u001b]0;x\u0007b",
  "C1 controls": "a\u009b31mb",
  NUL: "a\u0000b",
  backspaces: "a\b\bb",
  "variation selectors that spell": `a${"\ufe01\ufe02\ufe03".repeat(20)}b`,
}
// oxlint-disable-next-line no-control-regex
export const unseen =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]|[\u{e0000}-\u{e007f}]|\ufe02/u

export const deep = (levels: number): object =>
  levels === 0 ? { type: "string" } : { type: "object", properties: { a: deep(levels - 1) } }
const doubling = () =>
  Object.fromEntries(
    Array.from({ length: 30 }, (_, at) => [
      `d${at}`,
      at === 29 ? { type: "string" } : { allOf: [{ $ref: `#/$defs/d${at + 1}` }, { $ref: `#/$defs/d${at + 1}` }] },
    ]),
  )
export const badSchemas: Readonly<Record<string, object>> = {
  "a reference to the network": { type: "object", properties: { a: { $ref: "http://169.254.169.254/schema" } } },
  "a reference to https": { type: "object", properties: { a: { $ref: "https://example.com/schema" } } },
  "a reference to a file": { type: "object", properties: { a: { $ref: "file:///etc/passwd" } } },
  "a relative reference": { type: "object", properties: { a: { $ref: "../x.json" } } },
  "a dynamic reference to the network": {
    type: "object",
    properties: { a: { $dynamicRef: "http://127.0.0.1/schema#x" } },
  },
  "33 levels": deep(33),
  "490 levels, almost 1,000 of JSON": deep(490),
  "2,001 parts": { type: "object", anyOf: Array.from({ length: 2001 }, () => ({})) },
  "100,000 alternatives": { type: "object", anyOf: Array.from({ length: 100_000 }, () => ({})) },
  "references that double thirty times": {
    type: "object",
    properties: { a: { $ref: "#/$defs/d0" } },
    $defs: doubling(),
  },
  "300 KiB": { type: "object", description: "x".repeat(307_200) },
}
export const goodSchemas: Readonly<Record<string, object>> = {
  "31 levels": deep(30),
  "a reference within": { type: "object", properties: { a: { $ref: "#/$defs/a" } }, $defs: { a: { type: "string" } } },
  "a cycle": { type: "object", properties: { a: { $ref: "#" } } },
}
export const badHeaders: Readonly<Record<string, object>> = {
  "with a line break": { type: "object", properties: { a: { type: "string", "x-mcp-header": "A\r\nX-Evil: 1" } } },
  empty: { type: "object", properties: { a: { type: "string", "x-mcp-header": "" } } },
  "with a colon": { type: "object", properties: { a: { type: "string", "x-mcp-header": "A:B" } } },
  "with a blank": { type: "object", properties: { a: { type: "string", "x-mcp-header": "A B" } } },
  twice: {
    type: "object",
    properties: { a: { type: "string", "x-mcp-header": "A" }, b: { type: "string", "x-mcp-header": "a" } },
  },
  "of a number": { type: "object", properties: { a: { type: "number", "x-mcp-header": "A" } } },
  "of an object": { type: "object", properties: { a: { type: "object", "x-mcp-header": "A" } } },
  "of list items": {
    type: "object",
    properties: { a: { type: "array", items: { type: "string", "x-mcp-header": "A" } } },
  },
  "that is no text": { type: "object", properties: { a: { type: "string", "x-mcp-header": 5 } } },
  "outside ASCII": { type: "object", properties: { a: { type: "string", "x-mcp-header": "\u00c4" } } },
}
const svg = (inside: string) =>
  `data:image/svg+xml;base64,${Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg">${inside}</svg>`).toString("base64")}`
export const badIcons = [
  "javascript:alert(1)",
  "file:///etc/passwd",
  "http://example.com/i.png",
  "http://169.254.169.254/i.png",
  "data:text/html,<script>alert(1)</script>",
  "vbscript:x",
  "blob:http://x/",
  "ftp://x/i.png",
  "//example.com/i.png",
  "",
  "not a url",
  svg("<script>alert(1)</script>"),
  svg('<image href="http://evil.example/x"/>'),
  svg("<foreignObject><iframe/></foreignObject>"),
  svg('<rect onload="alert(1)"/>'),
  "data:image/svg+xml,%3Csvg onload=alert(1)%3E",
]
export const goodIcons = ["https://example.com/i.png", "data:image/png;base64,iVBORw0KGgo=", svg('<rect width="1"/>')]
