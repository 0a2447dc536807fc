import { constants, watch, type FSWatcher } from "node:fs"
import { open, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import {
  asClarityError,
  ClarityError,
  silentTelemetry,
  systemClock,
  type Clock,
  type JsonObject,
  type Telemetry,
} from "@clarity-runtime/contracts"
import { createDocument, Damaged, errnoOf, type Document, type FileSystem } from "@clarity-runtime/state"
import { duplicateKey } from "./duplicate-keys.ts"
import { createRuleSet, type RuleSet } from "./rule-set.ts"
import { noRules, parseRules } from "./rules-schema.ts"
import { closedRules, type RulesInForce, type RulesSource } from "./rules-source.ts"
import { quoted } from "./wording.ts"

export interface RulesFileOptions {
  /** The rules file; it need not exist. */
  readonly path: string
  /** The operator named it: one that is not there is a mistake, not the wish for no rules. */
  readonly required?: boolean
  /** How status and messages name it; default `path`. */
  readonly shown?: string
  /** Where the last good rules are kept, so that they survive a restart. The holder of the workspace lock's. */
  readonly stateDir: string
  readonly clock?: Clock
  readonly telemetry?: Telemetry
  readonly fs?: FileSystem
}

export interface RulesFileSource extends RulesSource, AsyncDisposable {
  reload(): Promise<void>
  /** What an operator should know: why the newest file is not in force, and of the file the last good rules are kept in. */
  readonly notices: readonly string[]
}

interface LastGood {
  readonly rules: JsonObject | undefined
}

const largest = 1_048_576
const settleMs = 30
const pollMs = 700

/**
 * Rules from a file, followed while it lives. A good file is in force within a second of being written; one that is
 * unreadable, half-written or wrong leaves the last good rules in force, across restarts too, and `problem` says why.
 * Where there never were good rules, everything is refused. A file that was never there means the defaults; one that
 * is gone leaves its last rules in force until `reload` is asked for by name. Throws `storage_error` when the last
 * good rules cannot be read.
 */
export async function rulesFile(options: RulesFileOptions): Promise<RulesFileSource> {
  const { path, shown = path, required = false, clock = systemClock, telemetry = silentTelemetry } = options
  const lastGood = await openLastGood(options)
  const closing = new AbortController()
  const listeners: (() => void)[] = []
  let current: RulesInForce = { rules: createRuleSet(noRules), closed: false, file: shown }
  let good = restored(lastGood.value)
  let running: Promise<void> | undefined
  let again: Promise<void> | undefined

  function swap(next: Omit<RulesInForce, "file">): void {
    const before = current
    current = { ...next, file: shown }
    const same = before.rules.version === next.rules.version && before.closed === next.closed
    if (same) current = { ...current, rules: before.rules }
    if (same && before.problem === next.problem) return
    if (next.problem !== undefined && next.problem !== before.problem) {
      const instead = next.closed
        ? "everything is refused until it is repaired"
        : `${next.rules.version} stays in force`
      record("policy.rules_refused", "error", `${next.problem}; ${instead}`, next.rules.version)
    } else if (next.problem === undefined)
      record("policy.rules_loaded", "info", `rules ${next.rules.version} of ${shown} are in force`, next.rules.version)
    for (const listener of listeners) listener()
  }

  function record(kind: string, level: "info" | "warn" | "error", message: string, version: string): void {
    telemetry.record({ kind, level, message, data: { version } })
  }

  /** The last good rules, or none at all. */
  function fallBack(problem: string): void {
    if (good === undefined) swap({ rules: closedRules, closed: true, problem })
    else swap({ rules: good, closed: false, problem })
  }

  async function load(asked: boolean): Promise<void> {
    let text: string | undefined
    try {
      text = await readText(path, shown)
    } catch (error) {
      return fallBack(asClarityError(error).message)
    }
    if (text === undefined) {
      if (required) return fallBack(`${shown} is not there`)
      if (good !== undefined && !asked)
        return fallBack(`${shown} is gone; to go without rules, run clarityctl policy reload`)
      good = undefined
      swap({ rules: createRuleSet(noRules), closed: false })
      return keep(undefined)
    }
    let written: JsonObject
    let rules: RuleSet
    try {
      const value: unknown = JSON.parse(text)
      const twice = duplicateKey(text)
      if (twice !== undefined) throw new ClarityError("config_error", `${shown} has the key ${quoted(twice)} twice`)
      rules = createRuleSet(parseRules(value, shown))
      written = value as JsonObject
    } catch (error) {
      const why = error instanceof ClarityError ? error.message : `${shown} is not valid JSON${placeOf(error)}`
      return fallBack(why)
    }
    const known = good?.version === rules.version
    good = rules
    swap({ rules, closed: false })
    if (!known) await keep(written)
  }

  async function keep(rules: JsonObject | undefined): Promise<void> {
    try {
      await lastGood.update((before) => (before.rules === rules ? before : { rules }))
    } catch (error) {
      const text = `these rules are in force, but cannot be kept for the next start: ${asClarityError(error).message}`
      record("policy.rules_not_kept", "warn", text, current.rules.version)
    }
  }

  /** Whoever asks while a load runs gets one that began after the asking. */
  function reload(asked: boolean): Promise<void> {
    if (again !== undefined && !asked) return again
    if (running === undefined) return (running = load(asked).finally(() => (running = undefined)))
    const next = running.then(() => {
      if (again === next) again = undefined
      return reload(asked)
    })
    return (again = next)
  }

  let watcher: FSWatcher | undefined
  let news: () => void = () => {}
  try {
    // The folder, not the file: editors and safe writers replace files.
    watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
      if (name === null || name === basename(path)) news()
    })
    watcher.on("error", () => watcher?.close())
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    // No folder yet, or no watches left: looking regularly finds it all the same.
  }

  async function follow(since: string): Promise<void> {
    let seen = since
    while (!closing.signal.aborted) {
      const wait = new AbortController()
      news = () => wait.abort()
      const stop = () => wait.abort()
      closing.signal.addEventListener("abort", stop)
      await clock.sleep(pollMs, wait.signal)
      closing.signal.removeEventListener("abort", stop)
      if (wait.signal.aborted) await clock.sleep(settleMs, closing.signal)
      if (closing.signal.aborted) return
      const now = await stamp(path)
      if (now === seen) continue
      seen = now
      await reload(false)
    }
  }

  // Before the file is read: what changes from then on is seen.
  const since = await stamp(path)
  await reload(false)
  const following = follow(since)
  return {
    get current() {
      return current
    },
    get notices() {
      const { problem } = current
      return [
        ...lastGood.notices,
        ...(problem === undefined ? [] : [`The rules as they are now are not in force: ${problem}`]),
      ]
    },
    subscribe: (listener) => void listeners.push(listener),
    reload: () => reload(true),
    async [Symbol.asyncDispose]() {
      closing.abort()
      watcher?.close()
      await following
      await running
      await lastGood[Symbol.asyncDispose]()
    },
  }
}

/** Where V8 met what is no JSON; its own words would repeat what stands there. */
function placeOf(error: unknown): string {
  const found = error instanceof Error ? /\(line (\d+) column (\d+)\)/.exec(error.message) : null
  return found ? ` (line ${found[1]}, column ${found[2]})` : ""
}

function openLastGood({ stateDir, fs, clock = systemClock }: RulesFileOptions): Promise<Document<LastGood>> {
  return createDocument<LastGood>({
    path: join(stateDir, "policy-last-good.json"),
    version: 1,
    snapshots: 0,
    clock,
    ...(fs === undefined ? {} : { fs }),
    empty: () => ({ rules: undefined }),
    parse({ rules }) {
      if (rules === null) return { rules: undefined }
      try {
        parseRules(rules)
      } catch (error) {
        throw new Damaged("holds no rules that can be read", { cause: error })
      }
      return { rules: rules as JsonObject }
    },
    serialize: ({ rules }) => ({ rules: rules ?? null }),
  })
}

function restored({ rules }: LastGood): RuleSet | undefined {
  return rules === undefined ? undefined : createRuleSet(parseRules(rules))
}

/** Undefined when there is no such file. Throws ClarityError `config_error`. */
async function readText(path: string, shown: string): Promise<string | undefined> {
  try {
    // Opening what is no file, a named pipe say, must not wait for anybody.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const facts = await file.stat()
      if (!facts.isFile()) throw new ClarityError("config_error", `${shown} is not a file`)
      if (facts.size > largest) throw new ClarityError("config_error", `${shown} is larger than ${largest} bytes`)
      return new TextDecoder("utf-8", { fatal: true }).decode(await file.readFile())
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof ClarityError) throw error
    const code = errnoOf(error)
    if (code === "ENOENT") return undefined
    throw new ClarityError("config_error", `${shown} cannot be read: ${code ?? "it is not valid UTF-8"}`, {
      cause: error,
    })
  }
}

/** What changes when a file does. */
async function stamp(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path)
    return `${ino} ${size} ${mtimeMs} ${ctimeMs}`
  } catch (error) {
    return errnoOf(error) ?? "unreadable"
  }
}
