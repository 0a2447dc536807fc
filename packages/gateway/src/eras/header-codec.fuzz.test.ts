import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { checkParameterHeaders, checkStandardHeaders } from "./modern-headers.ts"

const text = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: "binary" }).map((given) => given.toWellFormed()),
  fc.constantFrom("=?base64?", "=?base64?YQ==?=", " padded ", "a\u2028b", "tab\t"),
)

/** How the protocol wants a value written (MCP 2026-07-28, value encoding), said here a second time on purpose. */
function written(value: string): string {
  const asIs = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !/^=\?base64\?.*\?=$/.test(value)
  return asIs ? value : `=?base64?${Buffer.from(value).toString("base64")}?=`
}

const sent = (headers: Record<string, string>) => new Headers(headers)
const call = (name: string) => ({ name })

describe("the headers that repeat the body", () => {
  it("pass for what the body says, however it must be written, and for nothing else", () => {
    fc.assert(
      fc.property(text, text, (name, other) => {
        const headers = sent({ "mcp-method": "tools/call", "mcp-name": written(name) })
        expect(() => checkStandardHeaders(headers, "tools/call", call(name))).not.toThrow()
        fc.pre(name !== other)
        expect(() => checkStandardHeaders(headers, "tools/call", call(other))).toThrow(ClarityError)
      }),
    )
  })

  it("an encoded form of a plain value says the same", () => {
    fc.assert(
      fc.property(text, (name) => {
        const encoded = `=?base64?${Buffer.from(name).toString("base64")}?=`
        const headers = sent({ "mcp-method": "tools/call", "mcp-name": encoded })
        expect(() => checkStandardHeaders(headers, "tools/call", call(name))).not.toThrow()
      }),
    )
  })

  it("never fail but by name, whatever is sent", () => {
    const value = fc.stringMatching(/^[\x20-\x7e]{0,60}$/)
    fc.assert(
      fc.property(value, value, text, (method, name, body) => {
        try {
          checkStandardHeaders(sent({ "mcp-method": method, "mcp-name": name }), "tools/call", call(body))
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: "header_mismatch" })
        }
      }),
    )
  })

  it("carry arguments that a tool marks: texts, whole numbers and booleans, and nothing for what is absent", () => {
    const argument = fc.oneof(text, fc.maxSafeInteger(), fc.boolean(), fc.constant(undefined))
    const tool = { name: "t", inputSchema: { properties: { inner: { properties: { x: { "x-mcp-header": "X" } } } } } }
    const headersFor = (value: unknown) =>
      sent(value === undefined ? {} : { "mcp-param-x": typeof value === "string" ? written(value) : String(value) })
    fc.assert(
      fc.property(argument, argument, (value, other) => {
        const args = (x: unknown) => ({ inner: x === undefined ? {} : { x } })
        expect(() => checkParameterHeaders(headersFor(value), tool, args(value))).not.toThrow()
        fc.pre(String(value) !== String(other))
        expect(() => checkParameterHeaders(headersFor(value), tool, args(other))).toThrow(ClarityError)
      }),
    )
  })
})
