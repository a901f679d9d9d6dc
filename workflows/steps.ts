/** The activities as the workflow calls them, with what each may take. */
import { proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import { TaskQueues } from './messages.ts';

/**
 * Steps of the hold. After a worker's crash, the time until a try counts as lost is the stall that a buyer sees; a
 * client has given up after a few tries, so then the reservation does too.
 */
export const steps = proxyLocalActivities<Activities['seats']>({
  startToCloseTimeout: '3 seconds',
  retry: { initialInterval: '50 milliseconds', maximumInterval: '1 second', maximumAttempts: 3 },
});

/** What must come about once it is begun: undos, and the steps after the money is reserved. Without end. */
export const surely = proxyLocalActivities<Activities['seats']>({
  startToCloseTimeout: '3 seconds',
  retry: { initialInterval: '50 milliseconds', maximumInterval: '5 seconds' },
});

/** As surely, but no task waits for it: Redis may be away for long, and what was decided is to be told meanwhile. */
export const { unlockSeats } = proxyLocalActivities<Activities['seats']>({
  startToCloseTimeout: '3 seconds',
  localRetryThreshold: '1 millisecond',
  retry: { initialInterval: '1 second', maximumInterval: '5 seconds' },
});

/** A silent gateway is asked again for this long; then the charge is cancelled. Until it is, the seats stay held. */
export const { authorisePayment, verifyCharge } = proxyActivities<Activities['payments']>({
  taskQueue: TaskQueues.payments,
  startToCloseTimeout: '20 seconds',
  heartbeatTimeout: '4 seconds',
  scheduleToCloseTimeout: '5 minutes',
  retry: { initialInterval: '200 milliseconds', maximumInterval: '10 seconds' },
});

/** Money that is reserved or taken is never left in doubt: without end. */
export const { capturePayment, giveBackPayment, cancelPayment, listCharges } = proxyActivities<Activities['payments']>({
  taskQueue: TaskQueues.payments,
  startToCloseTimeout: '20 seconds',
  heartbeatTimeout: '4 seconds',
  retry: { initialInterval: '200 milliseconds', maximumInterval: '10 seconds' },
});

/** A booking without its mail is still a booking, so mail is given up at some time. */
export const { sendConfirmation } = proxyActivities<Activities['notifications']>({
  taskQueue: TaskQueues.notifications,
  startToCloseTimeout: '30 seconds',
  scheduleToCloseTimeout: '1 hour',
  retry: { initialInterval: '1 second', maximumInterval: '5 minutes' },
});
