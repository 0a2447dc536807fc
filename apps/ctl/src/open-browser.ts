import { execFile } from "node:child_process"

/** The program that shows a page, with its arguments: the URL is one of them, never a part of a command line. Undefined: not http or https. */
export function openerOf(address: string, platform: NodeJS.Platform): readonly [string, ...string[]] | undefined {
  const url = URL.parse(address)
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined
  if (platform === "darwin") return ["open", url.href]
  return platform === "win32" ? ["rundll32", "url.dll,FileProtocolHandler", url.href] : ["xdg-open", url.href]
}

/** Shows a page in the user's browser, where there is one to be expected. False: nothing was opened. */
export function openBrowser(address: string): boolean {
  const { platform, env } = process
  const opener = openerOf(address, platform)
  const graphical = platform === "win32" || platform === "darwin" || "DISPLAY" in env || "WAYLAND_DISPLAY" in env
  if (opener === undefined || !graphical || !process.stderr.isTTY) return false
  const [program, ...rest] = opener
  const child = execFile(program, rest, { shell: false }, () => {
    // The address was shown as well: whoever has no such program opens it by hand.
  })
  child.unref()
  return true
}
