import { isIP } from "node:net"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { classify } from "./addresses.ts"
import { OutboundError } from "./outbound.ts"
import { checkOrigin, checkUrl } from "./target.ts"

const octet = fc.nat(255)
const privateV4 = fc.oneof(
  fc.tuple(fc.constantFrom(0, 10, 127), octet, octet, octet),
  fc.tuple(fc.constant(192), fc.constant(168), octet, octet),
  fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), octet, octet),
  fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), octet, octet),
  fc.tuple(fc.constant(169), fc.constant(254), octet, octet),
  fc.tuple(fc.integer({ min: 224, max: 255 }), octet, octet, octet),
)
type V4 = readonly [number, number, number, number]

const number = ([a, b, c, d]: V4) => ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
const hex = ([a, b, c, d]: V4) => `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
const fullwidth = (text: string) =>
  [...text].map((char) => (/\d/.test(char) ? String.fromCodePoint(0xff10 + Number(char)) : char)).join("")

/** Ways to write an IPv4 address that the URL parser takes for it. */
const spellings: readonly ((address: V4) => string)[] = [
  (address) => address.join("."),
  (address) => `${address.join(".")}.`,
  (address) => String(number(address)),
  (address) => `0x${number(address).toString(16)}`,
  (address) => address.map((part) => `0${part.toString(8)}`).join("."),
  (address) => address.map((part) => `0x${part.toString(16)}`).join("."),
  ([a, b, c, d]) => `${a}.${b}.${c * 256 + d}`,
  ([a, ...rest]) => `${a}.${number([0, ...rest] as unknown as V4)}`,
  (address) => fullwidth(address.join(".")),
  (address) => address.join("。"),
]

/** Ways to say an IPv4 address in IPv6. */
const embeddings: readonly ((address: V4) => string)[] = [
  (address) => `::${hex(address)}`,
  (address) => `::ffff:${hex(address)}`,
  (address) => `::ffff:0:${hex(address)}`,
  (address) => `64:ff9b::${hex(address)}`,
  (address) => `2002:${hex(address)}::`,
  (address) => `2001:0:${hex(address)}::`,
]

const refusal = (url: string) => () => {
  const parsed = URL.parse(url)
  if (parsed === null) throw new Error("not a URL, so the test is wrong")
  checkUrl(parsed)
  checkOrigin(parsed, "public", undefined)
}

describe("the guard of outgoing requests", () => {
  it("refuses every private IPv4 address in every spelling and embedding", () => {
    fc.assert(
      fc.property(privateV4, fc.constantFrom(...spellings), fc.constantFrom(...embeddings), (address, spell, embed) => {
        expect(refusal(`http://${spell(address)}/x`)).toThrow(OutboundError)
        expect(refusal(`https://[${embed(address)}]:8443/`)).toThrow(OutboundError)
        expect(classify(address.join("."))).not.toBe("public")
        expect(classify(embed(address))).not.toBe("public")
      }),
    )
  })

  it("passes no literal address that is not public, whatever the URL looks like", () => {
    const part = fc.oneof(fc.stringMatching(/^[0-9a-fx.:@#/\\[\]%_-]{0,24}$/), fc.webUrl(), fc.ipV4(), fc.ipV6())
    fc.assert(
      fc.property(
        fc.constantFrom("http://", "https:", "http:/", "ftp://", "file:", "HTTP://"),
        part,
        (scheme, rest) => {
          const parsed = URL.parse(scheme + rest)
          fc.pre(parsed !== null)
          try {
            refusal(scheme + rest)()
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(OutboundError)
            return
          }
          expect(parsed?.protocol).toMatch(/^https?:$/)
          expect(parsed?.username).toBe("")
          const host = parsed?.hostname.replace(/^\[(.*)\]$/, "$1") ?? ""
          if (isIP(host) !== 0) expect(classify(host)).toBe("public")
        },
      ),
    )
  })

  it("any text at all has a class, and what is no address is not public", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.ipV6(), fc.ipV4()), (text) => {
        expect(["public", "private", "metadata"]).toContain(classify(text))
        if (!/[.:]/.test(text)) expect(classify(text)).toBe("private")
      }),
    )
  })
})
