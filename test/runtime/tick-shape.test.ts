import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const tickShape = new URL('../../dist/runtime/tick-shape.js', import.meta.url).href;

/** Prints whether the ticks of a process that has collected its garbage often still have the hidden class of the kept one. */
const PROBE = `
import { executionAsyncResource } from 'node:async_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { keepTickShape, kept } from '${tickShape}';
keepTickShape();
await nextTurn();
for (let n = 0; n < 10; n++, await nextTurn()) gc();
process.nextTick(() => console.log(%HaveSameMap(kept[0], executionAsyncResource())));
`;

test('the ticks of a process look alike for as long as it lives', async () => {
  const flags = ['--expose-gc', '--allow-natives-syntax', '--input-type=module', '--eval', PROBE];
  expect((await run(process.execPath, flags)).stdout.trim()).toBe('true');
});
