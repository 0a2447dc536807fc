import { execFile } from "node:child_process"

/**
 * Shows a page in the user's browser, where there is one to be expected. The URL is one argument of a program, never a
 * part of a command line; what is not http or https is not opened. False: nothing was opened.
 */
export function openBrowser(address: string, platform: NodeJS.Platform = process.platform): boolean {
  const url = URL.parse(address)
  if (url === null || !/^https?:$/.test(url.protocol)) return false
  const [program, ...before] = openers[platform] ?? ["xdg-open"]
  const graphical =
    platform === "win32" || platform === "darwin" || "DISPLAY" in process.env || "WAYLAND_DISPLAY" in process.env
  if (program === undefined || !graphical || !process.stderr.isTTY) return false
  const child = execFile(program, [...before, url.href], { shell: false }, () => {
    // It was shown as text as well: whoever has no such program opens it by hand.
  })
  child.unref()
  return true
}

const openers: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ["open"],
  win32: ["rundll32", "url.dll,FileProtocolHandler"],
}
