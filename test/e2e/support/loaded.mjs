// Prints, one per line, every module that `import(process.argv[2])` loads.
import { registerHooks } from "node:module"

registerHooks({
  load(url, context, next) {
    process.stdout.write(`${url}\n`)
    return next(url, context)
  },
})
await import(process.argv[2])
