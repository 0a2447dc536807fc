import { describe, expect, it } from "vitest"
import { checkJson, checkPieces, checkText, hostBounds } from "./host-bounds.ts"

describe("what one host function may build on the host's side", () => {
  it("bounds texts at their limit", () => {
    expect(() => checkText(hostBounds.textBytes)).not.toThrow()
    expect(() => checkText(hostBounds.textBytes + 1)).toThrow("memory limit")
  })

  it("bounds the pieces of a text at their limit", () => {
    expect(() => checkPieces(`a${",a".repeat(hostBounds.pieces - 1)}`, ",a")).not.toThrow()
    expect(() => checkPieces(`a${",a".repeat(hostBounds.pieces)}`, ",a")).toThrow("memory limit")
    expect(() => checkPieces("a".repeat(hostBounds.pieces), "")).toThrow("memory limit")
  })

  it.each(["[],", "{},", '"":[],'])("bounds the values of a JSON text made of %s", (part) => {
    expect(() => checkJson(`[${part.repeat(1000)}0]`)).not.toThrow()
    expect(() => checkJson(`[${part.repeat(hostBounds.jsonValues)}0]`)).toThrow("memory limit")
  })
})
