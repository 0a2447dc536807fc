import { spawn, type ChildProcess } from "node:child_process"
import { Socket } from "node:net"

/**
 * Ends what a daemon leaves behind when it is killed with no chance to tidy up: one small shell process (about 1.7 MB)
 * that reads the groups to watch from a pipe only the daemon holds. The pipe closes with the daemon, however it ends;
 * then every group still on the list gets SIGTERM, two seconds later SIGKILL, and on Linux so does every process
 * that carries the family's cookie. The script is fixed; numbers and the cookie reach it as data on the pipe.
 */
export interface Guard extends AsyncDisposable {
  add(group: number): void
  remove(group: number): void
  /** The guard's own process; undefined while none is needed, or none can be had (Windows, no /bin/sh). */
  readonly pid: number | undefined
}

const script = `
trap '' HUP INT TERM
IFS= read -r cookie || exit 0
# Anything shorter could be found in the environment of strangers.
[ "\${#cookie}" -ge 16 ] || exit 0
groups=' '
while read -r verb group; do
  [ "$verb" != . ] || exit 0
  case $group in ''|0|1|*[!0-9]*) continue ;; esac
  case $verb in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="\${groups%%" $group "*} \${groups#*" $group "}" ;; esac ;;
  esac
done
exec 2>/dev/null
bearers() {
  [ -r /proc/self/environ ] || return
  for file in $(grep -lsF -e "=$cookie" /proc/[0-9]*/environ); do
    pid=\${file#/proc/}
    echo "\${pid%/environ}"
  done
}
left=
for group in $groups; do kill -TERM "-$group" && left=1; done
for pid in $(bearers); do kill -TERM "$pid" && left=1; done
[ -n "$left" ] || exit 0
sleep 2
for group in $groups; do kill -KILL "-$group"; done
for pid in $(bearers); do kill -KILL "$pid"; done
`

const maxStarts = 5

/** Starts its process with the first group. `family` is the part all cookies of this daemon begin with. */
export function createGuard(family: string, tell: (text: string) => void): Guard {
  const groups = new Set<number>()
  let child: ChildProcess | undefined
  let starts = 0
  let over = process.platform === "win32"

  function start() {
    if (over || child || groups.size === 0) return
    if (++starts > maxStarts) {
      over = true
      return tell("the guard process keeps ending; processes may stay behind if the daemon is killed")
    }
    const mine = spawn("/bin/sh", ["-c", script], {
      cwd: "/",
      env: { PATH: "/usr/bin:/bin" },
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    })
    child = mine
    mine.on("error", () => {
      over = true
      child = undefined
      tell("no guard process could be started; processes may stay behind if the daemon is killed")
    })
    mine.stdin.on("error", () => mine.stdin.destroy())
    mine.on("exit", () => {
      if (child !== mine) return
      child = undefined
      start()
    })
    mine.unref()
    if (mine.stdin instanceof Socket) mine.stdin.unref()
    mine.stdin.write(`${family}\n${[...groups].map((group) => `+ ${group}\n`).join("")}`)
  }

  return {
    add(group) {
      groups.add(group)
      if (child) child.stdin?.write(`+ ${group}\n`)
      else start()
    },
    remove(group) {
      if (groups.delete(group)) child?.stdin?.write(`- ${group}\n`)
    },
    get pid() {
      return child?.pid
    },
    async [Symbol.asyncDispose]() {
      over = true
      const last = child
      child = undefined
      if (!last || last.exitCode !== null || last.signalCode !== null) return
      await new Promise<void>((resolve) => {
        last.ref()
        last.once("exit", () => resolve())
        last.stdin?.end(".\n")
      })
    },
  }
}
