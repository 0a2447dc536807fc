import { describe, expect, test } from "vitest"
import { hostAllowed } from "./hosts.ts"

describe("hostAllowed", () => {
  test.each([
    [undefined, "https://anything.example/", true],
    [[], "https://anything.example/", false],
    [["api.example.com"], "https://API.example.com:8443/mcp", true],
    [["API.Example.com"], "https://api.example.com/mcp", true],
    [["api.example.com"], "https://api.example.com./mcp", true],
    [["api.example.com"], "https://api.example.com.evil.test/", false],
    [["api.example.com"], "https://evil.test/api.example.com", false],
    [["api.example.com"], "https://api.example.com@evil.test/", false],
    [["api.example.com:443"], "https://api.example.com/", true],
    [["api.example.com:443"], "https://api.example.com:8443/", false],
    [["*.example.com"], "https://a.example.com/", true],
    [["*.example.com"], "https://example.com/", false],
    [["*.example.com"], "https://badexample.com/", false],
    [["::1"], "http://[::1]:80/", true],
    [["127.0.0.1"], "http://2130706433/", true],
    [["api.example.com"], "not a url", false],
  ])("%j and %s: %s", (hosts, url, allowed) => {
    expect(hostAllowed(hosts, url)).toBe(allowed)
  })
})
