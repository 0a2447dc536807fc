const maxSection = 2_000
const maxTotal = 16_000

/** Every server's instructions under a heading with its namespace, in order, each and all together bounded. */
export function mergeInstructions(
  sections: readonly { heading: string; text: string | undefined }[],
): string | undefined {
  const parts: string[] = []
  let length = 0
  for (const { heading, text } of sections) {
    const body = text?.trim()
    if (!body) continue
    const part = `## ${heading}\n\n${body.length > maxSection ? `${body.slice(0, maxSection)} […]` : body}`
    if (length + part.length > maxTotal) {
      parts.push("[…] The instructions of further services are left out; their tools are listed.")
      break
    }
    length += part.length
    parts.push(part)
  }
  return parts.length === 0 ? undefined : parts.join("\n\n")
}
