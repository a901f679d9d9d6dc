import { createHash, randomUUID } from 'node:crypto';
import {
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  WorkflowUpdateStage,
  type Client,
  type WorkflowUpdateHandle,
} from '@temporalio/client';
import { ApplicationFailure, ValueError, type SearchAttributePair } from '@temporalio/common';
import type { Ending } from '../domain/model.ts';
import {
  ANSWER_WITHIN_MS,
  TaskQueues,
  claim,
  pay,
  payment as paymentSignal,
  release,
  searchAttributes,
  type PaymentOutcome,
  type ReservationInput,
  type Reserved,
} from '../workflows/messages.ts';
import type { HoldOutcomes } from './hold-outcomes.ts';

/** Every call to Temporal ends after this: without a deadline a client hangs while the server is away. */
const TEMPORAL_DEADLINE_MS = ANSWER_WITHIN_MS;

const WARM_UP_DEADLINE_MS = 10_000;

/** After a crash of the process that began a reservation, the stall before another takes it on. */
const TASK_TIMEOUT = '3 seconds';

/** There was no answer in time, or none that can be read, so what became of the call is not known. */
export class OutcomeUnknown extends Error {
  override name = 'OutcomeUnknown';
}

/** What `work` answers. @throws OutcomeUnknown when it takes longer, or `end` comes first; it goes on all the same */
export async function answerWithin<T>(deadlineMs: number, work: Promise<T>, end?: AbortSignal): Promise<T> {
  let tidyUp = (): void => undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const giveUp = () => reject(new OutcomeUnknown('there was no answer in time'));
    const deadline = setTimeout(giveUp, end?.aborted ? 0 : deadlineMs);
    end?.addEventListener('abort', giveUp);
    tidyUp = () => {
      clearTimeout(deadline);
      end?.removeEventListener('abort', giveUp);
    };
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    tidyUp();
  }
}

/** The reservation's workflow said no; `code` is the reason. */
export class Refused extends Error {
  override name = 'Refused';
  constructor(readonly code: string) {
    super(code);
  }
}

/** The reservation's workflow has ended, or never was. */
export class NotRunning extends Error {
  override name = 'NotRunning';
}

/** Tells failures apart by what they mean for the buyer. */
function meaning(error: unknown): unknown {
  if (error instanceof WorkflowUpdateFailedError) {
    const type = error.cause instanceof ApplicationFailure ? error.cause.type : undefined;
    // The server itself fails an update that a workflow did not finish before it ended.
    return type === 'AcceptedUpdateCompletedWorkflow' ? new NotRunning() : new Refused(type ?? 'INTERNAL_ERROR');
  }
  if (error instanceof WorkflowNotFoundError || error instanceof WorkflowExecutionAlreadyStartedError) {
    return new NotRunning();
  }
  if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || error instanceof ServiceError) {
    return new OutcomeUnknown('Temporal did not answer in time', { cause: error });
  }
  // While keys are exchanged: another process wrote the answer with a key that this one was not given.
  if (error instanceof ValueError) return new OutcomeUnknown('the answer cannot be read', { cause: error });
  return error;
}

/**
 * Reservations as workflows: starts them and speaks to them, each call with a deadline.
 * All methods reject with {@link OutcomeUnknown}, {@link NotRunning} or {@link Refused}.
 * @param build what the server would note of this process' worker by itself, later and at a cost
 */
export function createReservationWorkflows(client: Client, outcomes: HoldOutcomes, build: SearchAttributePair[] = []) {
  /** The connection gives this long to each try of a call, and tries again; so the whole has a clock of its own. */
  const within = <T>(deadlineMs: number, call: () => Promise<T>, end?: AbortSignal): Promise<T> =>
    answerWithin(deadlineMs, client.connection.withDeadline(Date.now() + deadlineMs, call), end).catch(
      (error: unknown) => {
        throw meaning(error);
      },
    );

  /** By reservation. Temporal takes ten updates of a workflow at once, and a client may repeat itself more often. */
  const underWay = new Map<string, Promise<Reserved>>();

  /**
   * Starts the reservation, or finds the one that a retry started before, and answers what its hold became. The
   * server hands the first task back with the start (an eager start), so that it runs in this very process.
   */
  async function start(reservationId: string, input: ReservationInput): Promise<Reserved> {
    const { event_id, user_id, seat_ids, answer_within_ms } = input;
    const outcome = outcomes.expect(reservationId, answer_within_ms); // what is granted later is given up
    const answerBy = performance.now() + answer_within_ms;
    const reservation = await within(TEMPORAL_DEADLINE_MS, () =>
      client.workflow.start('reservation', {
        workflowId: reservationId,
        taskQueue: TaskQueues.reservations,
        args: [input],
        requestEagerStart: true,
        workflowTaskTimeout: TASK_TIMEOUT,
        workflowIdConflictPolicy: 'USE_EXISTING',
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        typedSearchAttributes: [
          { key: searchAttributes.EventId, value: event_id },
          { key: searchAttributes.UserId, value: user_id },
          { key: searchAttributes.ReservationStatus, value: 'HELD' },
          ...build,
        ],
        staticSummary: `${seat_ids.length} seat(s) of ${event_id}`,
      }),
    );
    if (!reservation.eagerlyStarted) {
      const asked = { answer_within_ms: Math.max(0, Math.ceil(answerBy - performance.now())) };
      return within(TEMPORAL_DEADLINE_MS, () => reservation.executeUpdate(claim, { args: [asked] }));
    }
    const reserved = await outcome;
    if (!reserved) throw new OutcomeUnknown('the hold took too long');
    return reserved;
  }

  return {
    /** What became of a reservation's hold; a client that repeats itself meanwhile shares the answer. */
    reserve(reservationId: string, input: ReservationInput): Promise<Reserved> {
      const reserving =
        underWay.get(reservationId) ?? start(reservationId, input).finally(() => underWay.delete(reservationId));
      underWay.set(reservationId, reserving);
      return reserving;
    },

    /** Whether a reservation was ever begun, and may still get its seats, or has them. */
    async progressOf(reservationId: string): Promise<'NONE' | 'UNDER_WAY' | 'ENDED'> {
      if (underWay.has(reservationId)) return 'UNDER_WAY';
      try {
        const { status } = await within(TEMPORAL_DEADLINE_MS, () =>
          client.workflow.getHandle(reservationId).describe(),
        );
        return status.name === 'RUNNING' ? 'UNDER_WAY' : 'ENDED';
      } catch (error) {
        if (error instanceof NotRunning) return 'NONE';
        throw error;
      }
    },

    /**
     * Hands a payment to the reservation; resolves once it is accepted, which is durable. The same `updateId` again
     * finds the payment that is there.
     */
    pay(reservationId: string, paymentToken: string, updateId: string): Promise<WorkflowUpdateHandle<PaymentOutcome>> {
      return within(TEMPORAL_DEADLINE_MS, () =>
        client.workflow.getHandle(reservationId).startUpdate(pay, {
          updateId,
          args: [{ payment_token: paymentToken }],
          waitForStage: WorkflowUpdateStage.ACCEPTED,
        }),
      );
    },

    /** A payment that was accepted before; to be asked what became of it, which rejects where there is no such payment. */
    paymentOf(reservationId: string, updateId: string): WorkflowUpdateHandle<PaymentOutcome> {
      return client.workflow.getHandle(reservationId).getUpdateHandle<PaymentOutcome>(updateId);
    },

    /**
     * What became of a payment; undefined when `waitMs` were not enough, or `end` came first. With 0 nothing is sent:
     * only what came with the acceptance is known, and that is how a refusal shows.
     */
    async settled(
      payment: WorkflowUpdateHandle<PaymentOutcome>,
      waitMs: number,
      end?: AbortSignal,
    ): Promise<PaymentOutcome | undefined> {
      try {
        return await within(waitMs, () => payment.result(), end);
      } catch (error) {
        // An answer that is there and cannot be read may be a refusal.
        if (error instanceof OutcomeUnknown && !(error.cause instanceof ValueError)) return undefined;
        throw error;
      }
    },

    /** Tells of money that was reserved or taken elsewhere; resolves once the reservation is sure to hear of it. */
    sendCharge(reservationId: string, chargeId: string): Promise<void> {
      return within(TEMPORAL_DEADLINE_MS, () =>
        client.workflow.getHandle(reservationId).signal(paymentSignal, { charge_id: chargeId }),
      );
    },

    /** Has a charge given back that its reservation is not left to hear of, however often it is asked for. */
    async giveBack(reservationId: string, chargeId: string): Promise<void> {
      await within(TEMPORAL_DEADLINE_MS, () =>
        client.workflow.start('giveBack', {
          workflowId: `give-back-${createHash('sha256').update(chargeId).digest('hex').slice(0, 32)}`,
          taskQueue: TaskQueues.reservations,
          args: [{ charge_id: chargeId, reservation_id: reservationId }],
          workflowIdConflictPolicy: 'USE_EXISTING',
          staticSummary: `a charge of ${reservationId}, which had ended`,
        }),
      );
    },

    /** Gives the seats back; answers how the reservation ended, which may be by a payment that came first. */
    release(reservationId: string): Promise<Ending> {
      return within(TEMPORAL_DEADLINE_MS, () =>
        client.workflow.getHandle(reservationId).executeUpdate(release, { updateId: 'release' }),
      );
    },

    /** Takes the way of a reservation's start once. */
    async warmUp(): Promise<void> {
      const workflowId = `warm-up-${randomUUID()}`;
      await within(WARM_UP_DEADLINE_MS, () =>
        client.workflow.execute('warmUp', {
          workflowId,
          taskQueue: TaskQueues.reservations,
          requestEagerStart: true,
          workflowExecutionTimeout: WARM_UP_DEADLINE_MS,
        }),
      );
    },

    async ping(): Promise<void> {
      await within(1_000, () => client.connection.workflowService.getSystemInfo({}));
    },
  };
}

export type ReservationWorkflows = ReturnType<typeof createReservationWorkflows>;
