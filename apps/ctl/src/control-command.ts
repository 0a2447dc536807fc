import { createControlClient, type ControlClient } from "@clarity-runtime/control/client"
import { Command, Flags } from "@oclif/core"

export const connectionFlags = {
  "daemon-url": Flags.string({
    description: "where the daemon listens",
    env: "CLARITYD_URL",
    default: "http://127.0.0.1:4707",
    helpGroup: "GLOBAL",
  }),
  "auth-token": Flags.string({
    description: "token of the daemon; better in CLARITYD_AUTH_TOKEN or CLARITY_API_TOKEN, where others cannot see it",
    helpGroup: "GLOBAL",
  }),
}

export const jsonFlag = {
  json: Flags.boolean({ description: "print the daemon's own JSON", helpGroup: "GLOBAL" }),
}

export interface Connection {
  readonly "daemon-url": string
  readonly "auth-token": string | undefined
}

/** Flag, then CLARITYD_AUTH_TOKEN, then CLARITY_API_TOKEN; empty is as good as none. */
export function tokenOf(flags: Pick<Connection, "auth-token">): string | undefined {
  const { CLARITYD_AUTH_TOKEN, CLARITY_API_TOKEN } = process.env
  return flags["auth-token"] || CLARITYD_AUTH_TOKEN || CLARITY_API_TOKEN || undefined
}

export function connect(flags: Connection): ControlClient {
  const token = tokenOf(flags)
  return createControlClient({ url: flags["daemon-url"], ...(token === undefined ? {} : { token }) })
}

/** A command that talks to the daemon: its connection, and one answer as JSON or as words. */
export abstract class ControlCommand extends Command {
  static override baseFlags = { ...connectionFlags, ...jsonFlag }

  protected show(flags: { readonly json: boolean }, value: unknown, words: () => string): void {
    const text = flags.json ? JSON.stringify(value, null, 2) : words()
    if (text !== "") this.log("%s", text)
  }

  /** The command did what it was asked, and found something wrong: one line on stderr, exit code 1. */
  protected found(problem: string): void {
    process.stderr.write(`clarityctl: ${problem}\n`)
    process.exitCode = 1
  }
}
