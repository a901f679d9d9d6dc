/** `npm run mutations`: breaks each rule on purpose. Not part of `npm test`, since each mutant is a run of its own. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/mutations/run.ts'], maxConcurrency: 2, testTimeout: 600_000, reporters: ['verbose'] },
});
