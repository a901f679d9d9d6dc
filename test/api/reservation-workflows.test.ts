import { once } from 'node:events';
import { createServer } from 'node:net';
import { Client, Connection } from '@temporalio/client';
import { expect, onTestFinished, test } from 'vitest';
import { HoldOutcomes } from '../../api/hold-outcomes.ts';
import { OutcomeUnknown, createReservationWorkflows } from '../../api/reservation-workflows.ts';

test('a call that Temporal does not answer ends within 2.5 s, with its outcome unknown', async () => {
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  onTestFinished(() => void silent.close());
  const address = silent.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const connection = Connection.lazy({ address: `127.0.0.1:${address.port}` });
  onTestFinished(() => connection.close());
  const workflows = createReservationWorkflows(new Client({ connection }), new HoldOutcomes());
  const startedAt = performance.now();
  await expect(workflows.pay('res_1', 'tok_visa', 'pay')).rejects.toBeInstanceOf(OutcomeUnknown);
  expect(performance.now() - startedAt).toBeLessThan(2_500);
});
