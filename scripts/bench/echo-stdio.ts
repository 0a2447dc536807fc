// The same server over stdio.
import { answer } from "./echo.ts"

let rest = ""
process.stdin.setEncoding("utf8")
process.stdin.on("data", (chunk: string) => {
  const lines = (rest + chunk).split("\n")
  rest = lines.pop() ?? ""
  for (const line of lines) {
    const body = answer(JSON.parse(line))
    if (body !== undefined) process.stdout.write(`${body}\n`)
  }
})
process.stdin.on("end", () => process.exit(0))
