/** One event, and what is done to its reservations: by the real workflow and activities, on real stores. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Info } from '@temporalio/activity';
import {
  Client,
  ServiceError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  type Connection,
  type WorkflowHandle,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import type { PaymentGateway } from '../../activities/payments.ts';
import type { Ending } from '../../domain/model.ts';
import { seatLock } from '../../domain/redis-keys.ts';
import {
  TaskQueues,
  claim,
  pay,
  payment,
  release,
  type PaymentOutcome,
  type ReservationInput,
  type Reserved,
} from '../../workflows/messages.ts';
import { SEAT_PRICE, addEvent } from '../support/house.ts';
import { SEATS, type Command, type CommandTo, type Fault } from './commands.ts';
import type { SharedClock } from './shared-clock.ts';

const MINUTE_MS = 60_000;
const HOLD_SECONDS = 600;
const PATIENCE = { answer_within_ms: 60_000 };
/** After it every fault is over, every mail given up and every hold at its end. */
const LONG_ENOUGH_MS = 180 * MINUTE_MS;
/** Long enough for a step to follow another; a sequence that fails once is to fail again when it is shrunk. */
const REST_MS = 25;

/**
 * What a caller was told. GONE: the reservation had ended. LOST: it was accepted, and then never answered. UNKNOWN: the
 * server did not say, which allows for anything.
 */
export type Answer<T> = { answered: T } | { refused: string } | 'GONE' | 'LOST' | 'UNKNOWN';

export interface Simulated {
  reservation_id: string;
  seat_ids: string[];
  price: number;
  workflow: WorkflowHandle<(input: ReservationInput) => Promise<Ending>>;
  /** Whether somebody asked for the seats' release, or the client was not answered in time. */
  mayBeReleased: boolean;
  reserved: Promise<Answer<Reserved>>[];
  /** By update id; a payment that is sent again has two answers. */
  payments: Map<string, Promise<Answer<PaymentOutcome>>[]>;
  releases: Promise<Answer<Ending>>[];
  /** Charges that were told of by signal, in order, and whether the signal is known to have arrived. */
  webhooks: { charge_id: string; arrived: Promise<boolean> }[];
  /** The activities in the workflow's order. A task that is done anew forgets those that its first try went on to. */
  steps: { n: number; activity: string }[];
}

export interface WorldDependencies {
  database: Pool;
  redis: Redis;
  connection: Connection;
  gateway: PaymentGateway;
  clock: SharedClock;
}

async function toAnswer<T>(call: Promise<T>): Promise<Answer<T>> {
  try {
    return { answered: await call };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'GONE';
    if (error instanceof ServiceError) return 'UNKNOWN';
    if (!(error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure)) throw error;
    const { type } = error.cause;
    return type === 'AcceptedUpdateCompletedWorkflow' ? 'LOST' : { refused: type ?? error.cause.message };
  }
}

const wasDelivered = (signal: Promise<unknown>): Promise<boolean> =>
  signal.then(
    () => true,
    (error: unknown) => {
      if (error instanceof WorkflowNotFoundError || error instanceof ServiceError) return false;
      throw error;
    },
  );

export class World {
  readonly reservations: Simulated[] = [];
  readonly #outside: WorldDependencies;
  readonly #event: { event_id: string; seat_ids: string[] };
  readonly #faults: Fault[] = [];
  #isMoneyWithdrawn = false;
  #busy = 0;
  #lastStepAt = 0;

  private constructor(outside: WorldDependencies, event: { event_id: string; seat_ids: string[] }) {
    this.#outside = outside;
    this.#event = event;
  }

  static async create(outside: WorldDependencies): Promise<World> {
    return new World(outside, await addEvent(outside.database, SEATS));
  }

  get event_id(): string {
    return this.#event.event_id;
  }

  get seat_ids(): string[] {
    return this.#event.seat_ids;
  }

  /** Does it all, then lets time pass until every reservation has ended. */
  async live(commands: Command[]): Promise<void> {
    for (const command of commands) {
      await this.#do(command);
      if (command.next === 'rest') await this.#rest();
    }
    await this.#outside.clock.elapse(LONG_ENOUGH_MS);
  }

  /** Runs a step of one of this world's reservations, which may be planted to fail. */
  async step({ workflowExecution, activityId, activityType }: Info, call: () => Promise<unknown>): Promise<unknown> {
    const reservation = this.find(workflowExecution?.workflowId);
    if (!reservation) throw new RangeError('a step of another world');
    const n = Number(activityId);
    const before = reservation.steps.filter((step) => step.n < n);
    reservation.steps = before.at(-1)?.activity === activityType ? before : [...before, { n, activity: activityType }];
    const planted = this.#faults.findIndex(({ activity }) => activity === activityType);
    const [fault] = planted < 0 ? [] : this.#faults.splice(planted, 1);
    const isHold = ['holdSeats', 'resolveHold'].includes(activityType);
    if (isHold && fault?.again === 'later') reservation.mayBeReleased = true;
    this.#busy++;
    try {
      if (fault?.when === 'before') throw failureOf(fault);
      if (activityType === 'capturePayment' && this.#isMoneyWithdrawn) await this.#withdrawMoney(reservation);
      const answer = await call();
      if (fault) throw failureOf(fault);
      return answer;
    } finally {
      this.#busy--;
      this.#lastStepAt = performance.now();
    }
  }

  find(reservationId: string | undefined): Simulated | undefined {
    return this.reservations.find(({ reservation_id }) => reservation_id === reservationId);
  }

  /** Calls are made and not waited for, since some are answered only when time has passed. */
  async #do(command: Command): Promise<void> {
    const { redis, clock } = this.#outside;
    if ('of' in command) {
      const reservation = this.reservations[command.of % this.reservations.length];
      return reservation && this.#doTo(reservation, command);
    }
    switch (command.does) {
      case 'hold':
        this.#hold(command.seats.map((n) => this.seat_ids[n] ?? ''));
        break;
      case 'fail':
        this.#faults.push(command.fault);
        break;
      case 'withdraw money':
        this.#isMoneyWithdrawn = true;
        break;
      case 'forget locks':
        await redis.del(this.seat_ids.map((seatId) => seatLock(this.event_id, seatId)));
        break;
      case 'wait':
        if (command.first === 'PostgreSQL') await this.#passTimeInPostgres(command.minutes);
        await clock.elapse(command.minutes * MINUTE_MS);
        if (command.first === 'Temporal') await this.#passTimeInPostgres(command.minutes);
    }
  }

  async #doTo(reservation: Simulated, command: CommandTo): Promise<void> {
    const { workflow, reserved, releases, payments } = reservation;
    switch (command.does) {
      case 'claim':
        reserved.push(toAnswer(workflow.executeUpdate(claim, { args: [PATIENCE] })));
        break;
      case 'pay':
        this.#pay(reservation, randomUUID(), command.token);
        break;
      case 'pay again':
        for (const last of [...payments.keys()].slice(-1)) this.#pay(reservation, last, 'tok_visa');
        break;
      case 'operator pays':
        await wasDelivered(workflow.signal(payment, { payment_token: command.token }));
        break;
      case 'webhook':
        await this.#tellOfCharge(reservation, command.charge);
        break;
      case 'release':
        reservation.mayBeReleased = true;
        releases.push(toAnswer(workflow.executeUpdate(release)));
        break;
      case 'cancel':
        reservation.mayBeReleased = true;
        await wasDelivered(workflow.cancel());
    }
  }

  #hold(seat_ids: string[]): void {
    const reservation_id = `res_${randomUUID()}`;
    const input: ReservationInput = {
      event_id: this.event_id,
      user_id: 'ann',
      seat_ids,
      hold_seconds: HOLD_SECONDS,
      ...PATIENCE,
    };
    const { workflow: workflows } = new Client({ connection: this.#outside.connection });
    const workflow = workflows.getHandle(reservation_id);
    const start = { workflowId: reservation_id, taskQueue: TaskQueues.reservations, args: [input] };
    const reserved = workflows
      .start('reservation', start)
      .then(() => workflow.executeUpdate(claim, { args: [PATIENCE] }));
    this.reservations.push({
      reservation_id,
      seat_ids,
      price: seat_ids.length * SEAT_PRICE,
      workflow,
      mayBeReleased: false,
      reserved: [toAnswer(reserved)],
      payments: new Map(),
      releases: [],
      webhooks: [],
      steps: [],
    });
  }

  #pay({ workflow, payments }: Simulated, updateId: string, payment_token: string): void {
    const answer = toAnswer(workflow.executeUpdate(pay, { updateId, args: [{ payment_token }] }));
    payments.set(updateId, [...(payments.get(updateId) ?? []), answer]);
  }

  /** As the gateway's webhook does: of a charge that was made without us. */
  async #tellOfCharge(
    reservation: Simulated,
    charge: 'new' | 'same again' | 'too little' | 'of another',
  ): Promise<void> {
    const { reservation_id, price, webhooks, workflow } = reservation;
    const authorise = async (of: string, amount: number) => {
      const request = { idempotency_key: randomUUID(), payment_token: 'tok_visa', price: { amount, currency: 'EUR' } };
      const made = await this.#outside.gateway.authorise({ ...request, reservation_id: of });
      return made.status === 'AUTHORIZED' ? made.charge_id : '';
    };
    const charge_id =
      charge === 'new'
        ? await authorise(reservation_id, price)
        : charge === 'too little'
          ? await authorise(reservation_id, 1)
          : charge === 'of another'
            ? await authorise(`res_${randomUUID()}`, price)
            : webhooks.at(-1)?.charge_id;
    if (charge_id === undefined) return;
    webhooks.push({ charge_id, arrived: wasDelivered(workflow.signal(payment, { charge_id })) });
  }

  /** A clock of PostgreSQL that is ahead by this much, as its rows see it. */
  async #passTimeInPostgres(minutes: number): Promise<void> {
    await this.#outside.database.query(
      `UPDATE reservations SET created_at = created_at - passed, expires_at = expires_at - passed,
                               release_at = release_at - passed
       FROM make_interval(mins => $2) AS passed WHERE event_id = $1`,
      [this.event_id, minutes],
    );
  }

  async #withdrawMoney({ reservation_id }: Simulated): Promise<void> {
    this.#isMoneyWithdrawn = false;
    await this.#outside.database.query(
      `UPDATE sandbox_gateway.charges SET status = 'VOIDED' WHERE reservation_id = $1 AND status = 'AUTHORIZED'`,
      [reservation_id],
    );
  }

  /** Until no step has been under way for a moment. */
  async #rest(): Promise<void> {
    const startedAt = performance.now();
    while (this.#busy > 0 || performance.now() - Math.max(startedAt, this.#lastStepAt) < REST_MS)
      await delay(REST_MS / 4);
  }
}

function failureOf({ activity, again }: Fault): ApplicationFailure {
  const message = `${activity} was planted to fail`;
  if (again === 'never') return ApplicationFailure.nonRetryable(message);
  return ApplicationFailure.create({ message, nextRetryDelay: again === 'later' ? 3 * MINUTE_MS : 1 });
}
