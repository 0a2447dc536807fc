import { afterAll } from "vitest"
import { cleanUp } from "./daemon.ts"

// Hooks run last registered first: this one, imported before any other, after all of a file's own.
afterAll(cleanUp)
