#!/usr/bin/env node
/* Plain old JavaScript: an older Node must be able to read this far and say what is wrong. */
var parts = process.versions.node.split(".").map(Number)
if (!(parts[0] >= 26 || (parts[0] === 24 && parts[1] >= 15) || (parts[0] === 22 && parts[1] >= 23))) {
  console.error("clarityctl needs Node 22.23, 24.15 or 26 and later; this is Node " + process.versions.node + ".")
  process.exit(78)
}
import("../dist/main.js").then(function (program) {
  return program.main(process.argv.slice(2))
})
