#!/usr/bin/env node
// From source, without a build: node --conditions=@clarity-runtime/source apps/ctl/bin/dev.js
import { main } from "../src/main.ts"

await main(process.argv.slice(2), { commands: "./src/commands" })
