import type { Daemon } from "./daemon.ts"
import { inRoot, startProgram } from "./process.ts"

export interface Said {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

/** Runs `clarityctl` from source against a daemon; the token goes by its variable, as people are told to. */
export async function ctl(
  daemon: Pick<Daemon, "url" | "workspace">,
  args: readonly string[],
  token?: string,
): Promise<Said> {
  const program = startProgram([inRoot("apps/ctl/bin/dev.js"), ...args, "--daemon-url", daemon.url], {
    cwd: daemon.workspace,
    env: token === undefined ? {} : { CLARITYD_AUTH_TOKEN: token },
  })
  program.child.stdin?.end()
  const code = await program.exited
  return { code, stdout: program.stdout(), stderr: program.stderr() }
}
