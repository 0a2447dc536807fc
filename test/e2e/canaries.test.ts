import { expect, it } from "vitest"
import { hunt } from "../../scripts/campaigns/canary-hunt.ts"
import { createSinks, freshValue } from "../../scripts/campaigns/sinks.ts"
import "./support/clean-up.ts"

it("no secret comes out anywhere but where it is meant for", async () => {
  const { planted, rows, hits, unused } = await hunt({ few: true })
  expect({ hits, unused }).toEqual({ hits: [], unused: [] })
  expect(planted).toBeGreaterThanOrEqual(40)
  expect(rows.length).toBeGreaterThanOrEqual(40)
})

it("a secret is found however it is spelled, and a piece of it as well", () => {
  const value = freshValue()
  const spellings = [
    value,
    Buffer.from(value).toString("hex"),
    Buffer.from(`user:${value}`).toString("base64"),
    Buffer.from(`{"a":"${value}"}`).toString("base64url"),
    `...${value.slice(8, 16)}...`,
  ]
  for (const spelling of spellings) {
    const sinks = createSinks()
    sinks.add("own", `before ${spelling} after`)
    sinks.add("other", "nothing here")
    const { rows, hits } = sinks.scan([{ name: "canary", value, may: [] }])
    expect([spelling, rows.map(({ hits: count }) => count), hits.length]).toEqual([spelling, [1, 0], 1])
    expect(sinks.scan([{ name: "canary", value, may: ["own"] }]).hits).toEqual([])
  }
})
