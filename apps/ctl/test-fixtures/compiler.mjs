#!/usr/bin/env node
// Stands in for clarityc: gives every source the same module, refuses those whose name says so.
import { copyFileSync, readFileSync } from "node:fs"

const [command, source, , output] = process.argv.slice(2)
if (command === "--version") process.stdout.write("0.9.0\n")
else if (process.env.CLARITYD_AUTH_TOKEN || process.env.CLARITY_API_TOKEN) process.exitCode = 9
else if (readFileSync(source, "utf8").includes("broken")) {
  process.stderr.write(`error: Unexpected token\n --> ${source}:1:1\n\n`)
  process.exitCode = 1
} else copyFileSync(process.env.TEST_MODULE, output)
