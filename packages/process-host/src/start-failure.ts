import { access, constants, stat } from "node:fs/promises"
import { delimiter, isAbsolute, resolve } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"

/** What was to be started, as far as an error may speak of it. */
export interface Attempt {
  readonly service: string
  readonly command: string
  /** The directory it starts in. */
  readonly cwd: string
  /** True when `cwd` was written by the operator, who may then see it in an error. */
  readonly cwdDeclared: boolean
  /** The PATH the command is looked up on. */
  readonly path: string | undefined
}

const install: Readonly<Record<string, string>> = {
  npx: "install Node.js (it brings npx), or write the full path of npx as the command",
  npm: "install Node.js (it brings npm), or write the full path of npm as the command",
  node: "install Node.js, or write the full path of node as the command",
  uvx: "install uv (it brings uvx), or write the full path of uvx as the command",
  uv: "install uv, or write the full path of uv as the command",
  python: "many systems call it python3; write that, or its full path, as the command",
  docker: "install Docker, or write the full path of docker as the command",
  bunx: "install Bun (it brings bunx), or write the full path of bunx as the command",
  deno: "install Deno, or write the full path of deno as the command",
}

/** Checks what can be known before a start. Throws ClarityError (`unavailable`) with a hint. */
export async function checkStartable(attempt: Attempt): Promise<void> {
  const place = await kindOf(attempt.cwd)
  if (place !== "directory") throw badDirectory(attempt, place)
  const file = await findCommand(attempt)
  if (file === undefined) throw notFound(attempt)
  if ((await kindOf(file)) === "directory" || !(await executable(file))) throw notExecutable(attempt)
}

/** Why `spawn` failed, in words and with a hint. The system's own text stays in `cause`: it may hold values. */
export async function startFailure(thrown: unknown, attempt: Attempt): Promise<ClarityError> {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "unknown"
  const { service, command } = attempt
  const place = await kindOf(attempt.cwd)
  if (place !== "directory") return badDirectory(attempt, place)
  if (code === "ENOENT") {
    if ((await findCommand(attempt)) === undefined) return notFound(attempt)
    return failure(
      attempt,
      `service "${service}" cannot start: the interpreter named in the first line of "${command}" does not exist`,
      "interpreter not found",
      "correct the first line of the script, or name the interpreter as the command and the script as its first argument",
      thrown,
    )
  }
  if (code === "EACCES" || code === "EPERM") return notExecutable(attempt, thrown)
  if (code === "E2BIG")
    return failure(
      attempt,
      `service "${service}" cannot start: its arguments and variables are too large for this system`,
      code,
      "pass large values by a file",
      thrown,
    )
  if (code === "EINVAL" && process.platform === "win32")
    return failure(
      attempt,
      `service "${service}" cannot start: Windows does not run "${command}" without a shell`,
      code,
      `write command "cmd" with args ["/c", "${command}", ...]`,
      thrown,
    )
  if (["EAGAIN", "EMFILE", "ENFILE", "ENOMEM"].includes(code))
    return failure(
      attempt,
      `service "${service}" cannot start: this machine is out of processes, files or memory (${code})`,
      code,
      "stop something, or raise the limits of the daemon's user (ulimit -n, ulimit -u)",
      thrown,
    )
  return failure(attempt, `service "${service}" cannot start (${code})`, code, "see the service's log", thrown)
}

function notFound(attempt: Attempt): ClarityError {
  const { service, command } = attempt
  const bare = !command.includes("/") && !(process.platform === "win32" && command.includes("\\"))
  const spaced = /\s/.test(command)
  return failure(
    attempt,
    `service "${service}" cannot start: "${cut(command)}" ${bare ? "is not on the daemon's PATH" : "does not exist"}`,
    "command not found",
    spaced
      ? "write the program alone as the command and every argument as its own entry of args; no shell reads them"
      : (install[command] ??
          (bare
            ? "install it, or write its full path as the command"
            : "correct the path; it is read from the service's cwd")),
  )
}

function notExecutable(attempt: Attempt, cause?: unknown): ClarityError {
  return failure(
    attempt,
    `service "${attempt.service}" cannot start: "${cut(attempt.command)}" may not be executed`,
    "not executable",
    `make it executable (chmod +x), or name its interpreter as the command and the file as its first argument`,
    cause,
  )
}

function badDirectory(attempt: Attempt, place: "file" | undefined): ClarityError {
  const where = attempt.cwdDeclared ? `its working directory "${cut(attempt.cwd)}"` : "its private working directory"
  return failure(
    attempt,
    `service "${attempt.service}" cannot start: ${where} ${place === undefined ? "does not exist" : "is not a directory"}`,
    "bad working directory",
    attempt.cwdDeclared ? "create it, or correct cwd" : "check the permissions of the workspace's state directory",
  )
}

function failure(attempt: Attempt, message: string, reason: string, hint: string, cause?: unknown): ClarityError {
  return new ClarityError("unavailable", message, { data: { service: attempt.service, reason, hint }, cause })
}

async function findCommand({ command, cwd, path }: Attempt): Promise<string | undefined> {
  const windows = process.platform === "win32"
  const endings = windows ? ["", ".exe", ".com", ".cmd", ".bat"] : [""]
  const places =
    command.includes("/") || (windows && command.includes("\\"))
      ? [isAbsolute(command) ? command : resolve(cwd, command)]
      : (path ?? "/usr/bin:/bin").split(delimiter).map((directory) => resolve(cwd, directory, command))
  let forbidden: string | undefined
  for (const place of places) {
    for (const ending of endings) {
      const file = place + ending
      const kind = await kindOf(file)
      if (kind === "file" && (await executable(file))) return file
      if (kind !== undefined) forbidden ??= file
    }
  }
  return forbidden
}

async function kindOf(path: string): Promise<"file" | "directory" | undefined> {
  return stat(path).then(
    (entry) => (entry.isDirectory() ? "directory" : "file"),
    () => undefined,
  )
}

async function executable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  )
}

function cut(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
