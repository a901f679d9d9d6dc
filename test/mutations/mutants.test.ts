/** What `npm run mutations` breaks is still there to be broken, and so is the test that notices. */
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { MUTANTS } from './mutants.ts';

test.each(MUTANTS)('"$broken" can still be broken', async ({ file, replace, red: [testFile, title] }) => {
  const source = await readFile(file, 'utf8');
  expect(source.split(replace).length - 1, `times in ${file}: ${replace}`).toBe(1);
  const tests = await readFile(testFile, 'utf8');
  for (const one of title.split('|')) expect(tests).toContain(one);
});
