/**
 * Breaks one rule at a time in a copy of the sources, runs the test that is to notice, and fails where it does not.
 *
 *     npm run mutations                      all of them, two at a time
 *     npm run mutations -- -t '9 expiry'     those of one rule
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { MUTANTS, type Mutant } from './mutants.ts';

const run = promisify(execFile);

/** Within the time that a test of this file has, so that no run is left behind. */
const MUTANT_DEADLINE_MS = 540_000;

/** All that git knows of or would add, on the packages, tools and build that are here. */
async function copySources(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'holdfast-mutant-'));
  const { stdout } = await run('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z']);
  const files = stdout.split('\0').filter((file) => file !== '');
  await Promise.all(files.map((file) => cp(file, join(copy, file), { recursive: true })));
  for (const shared of ['node_modules', '.tools', 'dist']) await symlink(resolve(shared), join(copy, shared));
  return copy;
}

interface Report {
  numTotalTests: number;
  numPassedTests: number;
  numFailedTests: number;
}

/** Runs the mutant's test; answers how many of its cases failed. */
async function countFailures(copy: string, { red: [file, title] }: Mutant): Promise<number> {
  const report = join(copy, 'report.json');
  const args = ['run', file, '-t', title, '--reporter=json', `--outputFile=${report}`];
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')));
  await run(resolve('node_modules/.bin/vitest'), args, { cwd: copy, env, timeout: MUTANT_DEADLINE_MS }).catch(
    () => undefined,
  ); // red is hoped for
  const { numFailedTests, numPassedTests, numTotalTests }: Report = JSON.parse(await readFile(report, 'utf8'));
  if (numFailedTests + numPassedTests === 0) throw new Error(`none of ${numTotalTests} tests in ${file} is "${title}"`);
  return numFailedTests;
}

const killed: string[] = [];
afterAll(() => console.log(['rule | broken | red', ...killed.toSorted()].join('\n')));

const named = MUTANTS.map((mutant) => [`${mutant.rule}: ${mutant.broken}`, mutant] as const);

test.concurrent.each(named)('%s', async (_name, mutant) => {
  const { rule, broken, file, replace, by, red } = mutant;
  const copy = await copySources();
  try {
    const source = await readFile(join(copy, file), 'utf8');
    expect(source.split(replace).length - 1, 'the list is stale').toBe(1);
    await writeFile(
      join(copy, file),
      source.replace(replace, () => by),
    );
    expect(await countFailures(copy, mutant), 'the mutant survived').toBeGreaterThan(0);
    killed.push([rule, broken, red.join(': ')].join(' | '));
  } finally {
    await rm(copy, { recursive: true });
  }
});
