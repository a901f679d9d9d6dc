/**
 * `npm run histories -- 500 [seed]`: records so many histories, with the seeds from `seed` (1) on, judges them, and ends
 * with the totals. Ctrl-C ends it after the calls under way. Plain JavaScript, as it starts the test runner that
 * understands the rest.
 */
import { createVitest } from 'vitest/node';

const [histories = '500', seed = '1'] = process.argv.slice(2);
if (![histories, seed].every((word) => /^[1-9][0-9]{0,8}$/.test(word))) {
  console.error('usage: npm run histories -- [how many] [the first seed]');
  process.exit(2);
}

/** How far it is, on one line that is written anew where there is a terminal. */
const reporter = {
  onUserConsoleLog({ type, content }) {
    const { isTTY } = process.stderr;
    if (type === 'stdout') process.stdout.write(`${isTTY ? '\n' : ''}${content}`);
    else process.stderr.write(isTTY ? `\r${content.trimEnd()}\u001B[K` : content);
  },
  onTestCaseResult(testCase) {
    for (const { message } of testCase.result().errors ?? []) console.error(message);
  },
};

Object.assign(process.env, { HISTORIES: histories, HISTORY_SEED: seed });
const vitest = await createVitest('test', {
  watch: false,
  reporters: [reporter],
  include: ['test/history/histories.test.ts'],
});
process.once('SIGINT', () => void vitest.cancelCurrentRun('keyboard-input'));
const { testModules, unhandledErrors } = await vitest.start();
for (const error of unhandledErrors) console.error(error);
const isClean = unhandledErrors.length === 0 && testModules.length === 1 && testModules.every((module) => module.ok());
await vitest.close();
process.exit(isClean ? 0 : 1);
