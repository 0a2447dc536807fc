import { expect, it } from "vitest"
import { leadingFlagsLast } from "./leading-flags.ts"

it.each([
  [["list"], ["list"]],
  [
    ["--daemon-url", "U", "list"],
    ["list", "--daemon-url", "U"],
  ],
  [
    ["--daemon-url=U", "--json", "auth", "providers"],
    ["auth", "providers", "--daemon-url=U", "--json"],
  ],
  [
    ["--auth-token", "t", "add", "--name", "x", "--", "npx", "--json"],
    ["add", "--name", "x", "--auth-token", "t", "--", "npx", "--json"],
  ],
  [["--help"], ["--help"]],
  [["--version"], ["--version"]],
  [
    ["--nonsense", "list"],
    ["--nonsense", "list"],
  ],
  [
    ["list", "--daemon-url", "U"],
    ["list", "--daemon-url", "U"],
  ],
  [["--daemon-url"], ["--daemon-url"]],
])("%j becomes %j", (given, expected) => {
  expect(leadingFlagsLast(given)).toEqual(expected)
})
