import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import {
  buildModule,
  i32,
  i64,
  loopForEver,
  plainModule,
  type Parts,
} from "../../../packages/wasm-host/src/testing/module-builder.ts"
import { manifest, wasm, type Daemon } from "../../../test/e2e/support/daemon.ts"
import { inRoot } from "../../../test/e2e/support/process.ts"
import type { Case } from "../finding.ts"
import { outcomeOf, textFrom } from "../rogue.ts"
import { residentMb } from "../stand.ts"

const fixture = (name: string) => inRoot(`test/fixtures/clarity/${name}`)

/** What a module's service came to: its state, and why. */
async function loaded(daemon: Daemon, path: string): Promise<string> {
  const { serviceId, runtime } = await daemon.register(
    manifest("hostile", wasm(path), { restartPolicy: { mode: "never", maxRestarts: 1, windowSeconds: 60 } }),
  )
  await daemon.client.removeService({ id: serviceId })
  return runtime.lifecycle === "RUNNING" ? "RUNNING" : `refused: ${runtime.lastError ?? ""}`
}

const run = { name: "run", type: [[], ["i64"]] as const, body: i64(1) }
const memories: Record<string, Parts> = {
  "4 GiB at first": { memories: [[1, 65_536, 65_536]] },
  "1,025 pages at most": { memories: [[1, 1, 1025]] },
  "no maximum": { memories: [[0, 1]] },
  "two memories": {
    memories: [
      [1, 1, 16],
      [1, 1, 16],
    ],
  },
  "64-bit": { memories: [[5, 1, 16]] },
  shared: { memories: [[3, 1, 16]] },
  "more at first than at most": { memories: [[1, 17, 16]] },
  "a page size of its own": { memories: [[9, 1, 16, 0]] },
}
const tables: Record<string, Parts> = {
  "a table of 10,000,000": { tables: [[1, 10_000_000, 10_000_000]] },
  "a table of 65,537": { tables: [[1, 65_537, 65_537]] },
  "a 64-bit table": { tables: [[5, 1, 1]] },
}

/** Modules that loop, grow, lie and reach. */
export const moduleCases: readonly Case[] = [
  {
    id: "WAS-01",
    async run({ stand, same, holds }) {
      const daemon = await stand.fresh({ env: { CLARITY_LOCAL_FN_TIMEOUT_MS: "700" } })
      await daemon.register(manifest("spinner", wasm(fixture("spinner.wasm"))))
      const begun = performance.now()
      same(
        "a loop without end in a function",
        "upstream_timeout",
        await outcomeOf(daemon, "spinner__fn__forever", { n: 0 }),
      )
      const ms = performance.now() - begun
      holds("its time, where a call has 700 ms", "ended soon after", ms < 2500, `${Math.round(ms)} ms`)
      const got = await loaded(daemon, fixture("hostile/start_loops.wasm"))
      holds("a loop without end in the start function", "the service never runs", got.startsWith("refused"), got)
      const workspace = stand.folder()
      const path = join(workspace, "loops.wasm")
      writeFileSync(path, plainModule([{ name: "spin", type: [[], ["i64"]], body: [...loopForEver, ...i64(1)] }]))
      writeFileSync(join(workspace, "loops.clarity"), "module Loops\n\nexport function spin() -> Int64 { 1 }\n")
      await daemon.register(manifest("loops", wasm(path)))
      same("a loop put together by hand", "upstream_timeout", await outcomeOf(daemon, "loops__fn__spin"))
    },
  },
  {
    id: "WAS-02",
    async run({ stand, holds, same }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const before = residentMb(daemon.program.pid) ?? 0
      for (const [name, parts] of Object.entries({ ...memories, ...tables })) {
        const path = join(folder, `${name.replaceAll(/\W+/g, "_")}.wasm`)
        writeFileSync(path, buildModule({ memories: [[1, 1, 16]], heapBase: 64, functions: [run], ...parts }))
        const got = await loaded(daemon, path)
        holds(name, "refused", got.startsWith("refused"), got)
      }
      for (const file of [
        "huge_memory",
        "grows_itself",
        "bad_heap_base",
        "no_memory",
        "many_results",
        "cut_short",
        "not_wasm",
      ]) {
        const got = await loaded(daemon, fixture(`hostile/${file}.wasm`))
        const mayRun = ["no_memory", "grows_itself", "many_results"].includes(file)
        holds(
          `the module ${file}`,
          mayRun ? "refused, or within its maximum" : "refused",
          mayRun || got.startsWith("refused"),
          got,
        )
      }
      const { serviceId } = await daemon.register(manifest("hog", wasm(fixture("hog.wasm"))))
      same("a function that fills its memory", "tool error", await outcomeOf(daemon, "hog__fn__double_text", { n: 40 }))
      await daemon.client.removeService({ id: serviceId })
      const grown = (residentMb(daemon.program.pid) ?? 0) - before
      holds("memory of the daemon after all of them", "at most 80 MB more", grown <= 80, `${grown} MB`)
    },
  },
  {
    id: "WAS-04",
    async run({ stand, holds }) {
      const { daemon } = await stand.open()
      const folder = stand.folder()
      const imports: [module: string, name: string][] = [
        ["env", "system"],
        ["env", "eval"],
        ["env", "__proto__"],
        ["env", "constructor"],
        ["env", "abort"],
        ["env", "emscripten_run_script"],
        ["wasi_snapshot_preview1", "fd_write"],
        ["wasi_snapshot_preview1", "path_open"],
        ["wasi_snapshot_preview1", "sock_send"],
        ["wasi_snapshot_preview1", "environ_get"],
        ["wasi_unstable", "fd_read"],
        ["process", "exit"],
        ["node:fs", "readFileSync"],
        ["", ""],
        ["js", "global"],
        ["wasm:js-string", "length"],
        ["Env", "print_string"],
      ]
      for (const [module, name] of imports) {
        const path = join(folder, "imports.wasm")
        writeFileSync(
          path,
          buildModule({
            memories: [[1, 1, 16]],
            heapBase: 64,
            imports: [{ module, name, type: [[], []] }],
            functions: [run],
          }),
        )
        const got = await loaded(daemon, path)
        holds(`an import ${module}.${name}`, "refused by name", got.startsWith("refused") && got.includes(name), got)
      }
      for (const file of ["notes.wasm", "vault.wasm", "hostile/unknown_import.wasm"]) {
        const got = await loaded(daemon, fixture(file))
        holds(`the module ${file}, which wants what it was not granted`, "refused", got.startsWith("refused"), got)
      }
    },
  },
  {
    id: "WAS-05",
    async run({ stand, holds, same, fast }) {
      const { daemon } = await stand.open()
      const folder = join(stand.folder(), "pointers")
      mkdirSync(folder)
      const source =
        'module Bad\n\nexport function text() -> String { "" }\nexport function list() -> List<Int64> { [] }\n'
      const addresses = [
        0, 1, 4, 63, 65_532, 65_535, 65_536, 0x7fff_fff0, 0x7fff_ffff, -1, -4, -8, -65_536, -2_147_483_648,
      ]
      for (const address of fast ? addresses.slice(4, 11) : addresses) {
        const path = join(folder, "bad.wasm")
        writeFileSync(
          path,
          plainModule([
            { name: "text", type: [[], ["i32"]], body: i32(address) },
            { name: "list", type: [[], ["i32"]], body: i32(address) },
          ]),
        )
        writeFileSync(join(folder, "bad.clarity"), source)
        const { serviceId, runtime } = await daemon.register(manifest("pointers", wasm(path)))
        for (const tool of ["text", "list"]) {
          const got = runtime.lifecycle === "RUNNING" ? await outcomeOf(daemon, `pointers__fn__${tool}`) : "refused"
          holds(
            `a ${tool} at ${address}`,
            "an error of the tool, or an empty value",
            ["tool error", "ok", "refused", "upstream_invalid"].includes(got),
            got,
          )
        }
        await daemon.client.removeService({ id: serviceId })
      }
      for (const [name, head] of Object.entries({
        "a length of 2 GiB": [0xff, 0xff, 0xff, 0x7f],
        "a length of -1": [0xff, 0xff, 0xff, 0xff],
        "a length past the memory": [0x00, 0x00, 0x01, 0x00],
      })) {
        const path = join(folder, "long.wasm")
        writeFileSync(
          path,
          plainModule([{ name: "text", type: [[], ["i32"]], body: i32(16) }], {
            data: { at: 16, bytes: Uint8Array.from(head) },
          }),
        )
        writeFileSync(join(folder, "long.clarity"), 'module Long\n\nexport function text() -> String { "" }\n')
        const { serviceId } = await daemon.register(manifest("long", wasm(path)))
        const got = await outcomeOf(daemon, "long__fn__text")
        same(`a text with ${name}`, ["tool error", "result_too_large"].includes(got) ? got : "tool error", got)
        await daemon.client.removeService({ id: serviceId })
      }
    },
  },
  {
    id: "WAS-06",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const { serviceId } = await daemon.register(manifest("big", wasm(fixture("hog.wasm"))))
      same("a result of 4 MiB", "ok", await outcomeOf(daemon, "big__fn__big_reply", { n: 4_000_000 }))
      for (const n of [8_388_609, 16_777_216, 100_000_000]) {
        const got = await outcomeOf(daemon, "big__fn__big_reply", { n })
        const expected = ["result_too_large", "tool error"]
        same(`a result of ${n} bytes`, expected.includes(got) ? got : expected.join(" or "), got)
      }
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "WAS-08",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      const { serviceId } = await daemon.register(manifest("trapper", wasm(fixture("trapper.wasm"))))
      for (const [tool, args] of [
        ["by_zero", { n: 1 }],
        ["dive", { n: 0 }],
      ] as const) {
        same(`a trap: ${tool}`, "tool error", await outcomeOf(daemon, `trapper__fn__${tool}`, args))
        same(`a health check after ${tool}`, "ok", await outcomeOf(daemon, "trapper__health_check"))
      }
      await daemon.client.removeService({ id: serviceId })
      const folder = stand.folder()
      const path = join(folder, "counts.wasm")
      // Adds one to what it finds in its memory, and gives that.
      const body = [0x41, 0, 0x41, 0, 0x29, 3, 0, ...i64(1), 0x7c, 0x37, 3, 0, 0x41, 0, 0x29, 3, 0]
      writeFileSync(path, plainModule([{ name: "count", type: [[], ["i64"]], body }]))
      writeFileSync(join(folder, "counts.clarity"), "module Counts\n\nexport function count() -> Int64 { 1 }\n")
      const counts = await daemon.register(manifest("counts", wasm(path)))
      const seen = new Set<string>()
      for (let round = 0; round < 20; round++) seen.add(await textFrom(daemon, "counts__fn__count"))
      same("what twenty calls find in the memory of the one before", ["1"], [...seen])
      await daemon.client.removeService({ id: counts.serviceId })
    },
  },
  {
    id: "WAS-09",
    async run({ stand, same }) {
      const { daemon } = await stand.open()
      // A module reaches what it imports, and imports are checked by WAS-04; here, that none of its names becomes a tool that is more than a function.
      const { serviceId } = await daemon.register(manifest("plain", wasm(fixture("bools.wasm"))))
      for (const name of ["constructor", "__proto__", "process", "require", "globalThis", "memory", "__heap_base"])
        same(`a call of ${name}`, "rpc -32602", await outcomeOf(daemon, `plain__fn__${name}`))
      await daemon.client.removeService({ id: serviceId })
    },
  },
  {
    id: "WAS-10",
    async run({ stand, holds, same }) {
      const { daemon } = await stand.open()
      const { serviceId } = await daemon.register(manifest("maps", wasm(fixture("hog.wasm"))))
      const got = await outcomeOf(daemon, "maps__fn__fill_map", { n: 1_000_000_000 })
      holds(
        "a map without end, kept by the host",
        "an error, and the daemon lives",
        ["tool error", "upstream_timeout", "result_too_large"].includes(got),
        got,
      )
      same("the next call", "ok", await outcomeOf(daemon, "maps__fn__big_reply", { n: 10 }))
      await daemon.client.removeService({ id: serviceId })
    },
  },
]
