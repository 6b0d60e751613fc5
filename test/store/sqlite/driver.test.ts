import { expect, test } from 'vitest'
import { driverRemedy } from '../../../src/store/sqlite/driver.ts'

test.each([
  [22, true, false, 'Run: npm install better-sqlite3@13'],
  [24, false, true, 'Run: pnpm add better-sqlite3@13'],
  [20, true, false, /^Use Node 22 .* or run: npm rebuild better-sqlite3-node20 --ignore-scripts=false$/],
  [20, true, true, /^Use Node 22 .* or run: pnpm approve-builds better-sqlite3$/],
  [
    20,
    false,
    false,
    /^To build it takes Python, make and a C\+\+ compiler; .* or run: npm install --ignore-scripts=false better-sqlite3-node20@npm:better-sqlite3@12$/,
  ],
  [
    20,
    false,
    true,
    /or run: pnpm add --allow-build=better-sqlite3 better-sqlite3-node20@npm:better-sqlite3@12$/,
  ],
])(
  'the remedy on Node %d (installed: %s, by pnpm: %s) is a command that builds where scripts are blocked',
  (nodeMajor, isInstalled, isPnpm, remedy) => {
    expect(driverRemedy({ nodeMajor, isInstalled, isPnpm })).toMatch(remedy)
  },
)
