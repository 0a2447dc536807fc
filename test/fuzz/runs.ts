import * as fc from "fast-check"

// How many inputs each property is tried with; `npm run fuzz -- --runs N` raises it.
fc.configureGlobal({ numRuns: Number(process.env["FUZZ_RUNS"] ?? 300) })
