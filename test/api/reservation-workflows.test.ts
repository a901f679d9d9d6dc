import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { expect, inject, onTestFinished, test } from 'vitest';
import { HoldOutcomes } from '../../api/hold-outcomes.ts';
import { OutcomeUnknown, createReservationWorkflows } from '../../api/reservation-workflows.ts';
import { inTime } from '../support/in-time.ts';
import { openLink } from '../support/links.ts';

test('a call that Temporal does not answer ends within 2.5 s, with its outcome unknown', async () => {
  const link = await openLink(new URL(`tcp://${inject('temporal_address')}`));
  onTestFinished(() => link.close());
  const connection = await NativeConnection.connect({ address: link.address });
  onTestFinished(() => connection.close());
  const workflows = createReservationWorkflows(new Client({ connection }), new HoldOutcomes());
  await link.silence();
  const paid = workflows.pay('res_1', 'tok_visa', 'pay').catch((error: unknown) => error);
  expect(await inTime(2_500, paid)).toBeInstanceOf(OutcomeUnknown);
});
