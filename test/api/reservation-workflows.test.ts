import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { expect, inject, onTestFinished, test } from 'vitest';
import { HoldOutcomes } from '../../api/hold-outcomes.ts';
import { OutcomeUnknown, createReservationWorkflows } from '../../api/reservation-workflows.ts';
import { openLink } from '../support/links.ts';

test('a call that Temporal does not answer ends within 2.5 s, with its outcome unknown', async () => {
  const link = await openLink(new URL(`tcp://${inject('temporal_address')}`));
  onTestFinished(() => link.close());
  const connection = await NativeConnection.connect({ address: link.address });
  onTestFinished(() => connection.close());
  const workflows = createReservationWorkflows(new Client({ connection }), new HoldOutcomes());
  await link.silence();
  const startedAt = performance.now();
  await expect(workflows.pay('res_1', 'tok_visa', 'pay')).rejects.toBeInstanceOf(OutcomeUnknown);
  expect(performance.now() - startedAt).toBeLessThan(2_500);
});
