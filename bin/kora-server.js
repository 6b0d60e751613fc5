#!/usr/bin/env node
// Imported only after the check, because an older Node fails at the imports, with a message that says nothing.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major > 20 || (major === 20 && minor >= 19)) {
  const { main } = await import('../dist/cli/main.js')
  await main()
} else {
  console.error(
    `error: kora-server needs Node.js 20.19 or later; this is ${process.versions.node}. Install a later one.`,
  )
  process.exitCode = 1
}
