import { ClarityError } from "@clarity-runtime/contracts"

const longest = 65_536

/** A secret from standard input: asked for without echo on a terminal, else all of it less one final newline. */
export async function readSecret(question: string): Promise<string> {
  const { stdin, stderr } = process
  if (!stdin.isTTY) {
    let text = ""
    for await (const chunk of stdin.setEncoding("utf8")) {
      text += String(chunk)
      if (text.length > longest)
        throw new ClarityError("invalid_params", `the secret is longer than ${longest} characters`)
    }
    return text.replace(/\r?\n$/, "")
  }
  stderr.write(question)
  stdin.setRawMode(true)
  stdin.setEncoding("utf8")
  try {
    let text = ""
    for await (const chunk of stdin) {
      for (const key of String(chunk)) {
        if (key === "\r" || key === "\n" || key === "\u0004") return text
        if (key === "\u0003") throw new ClarityError("cancelled", "interrupted")
        text = key === "\u007f" || key === "\b" ? text.slice(0, -1) : text + key
      }
    }
    return text
  } finally {
    stdin.setRawMode(false)
    stdin.pause()
    stderr.write("\n")
  }
}
