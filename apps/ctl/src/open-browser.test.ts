import { expect, test } from "vitest"
import { openerOf } from "./open-browser.ts"

test.each(["linux", "darwin", "win32"] as const)("on %s the address is one argument, whatever is in it", (platform) => {
  const words = openerOf(`https://auth.example/a?x=1&calc&"&$(id)\`id\` '|`, platform)
  expect(words?.at(-1)).toMatch(/^https:\/\/auth\.example\/a\?x=1&calc&%22&\$\(id\)/)
  expect(words?.slice(0, -1).join(" ")).not.toContain("auth.example")
})

test.each(["javascript:alert(1)", "file:///etc/passwd", "$(calc)", 'a" & calc', "ms-settings:", "--help", ""])(
  "%s is not opened",
  (address) => {
    for (const platform of ["linux", "darwin", "win32"] as const) expect(openerOf(address, platform)).toBeUndefined()
  },
)
