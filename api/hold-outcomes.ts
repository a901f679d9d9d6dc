import { EventEmitter } from 'node:events';
import type { Activities } from '../activities/index.ts';
import type { HoldResult } from '../activities/seat-holds.ts';
import { toReserved, type Reserved } from '../workflows/messages.ts';

/**
 * Tells a request that waits in this process what its hold became, as soon as PostgreSQL has said so. By then both the
 * workflow's start and the hold are on disk, so the answer need not wait for the workflow task that did it.
 */
export class HoldOutcomes {
  /** By reservation; several requests wait for one where a client repeats itself. */
  readonly #outcomes = new EventEmitter<Record<string, [Reserved]>>().setMaxListeners(0);

  /** Resolves with undefined when no outcome is seen here in time. Call it before the reservation is started. */
  expect(reservationId: string, withinMs: number): Promise<Reserved | undefined> {
    return new Promise((resolve) => {
      const settle = (outcome?: Reserved) => {
        clearTimeout(deadline);
        this.#outcomes.off(reservationId, settle);
        resolve(outcome);
      };
      const deadline = setTimeout(settle, withinMs);
      this.#outcomes.on(reservationId, settle);
    });
  }

  /** The same activities, whose outcomes are seen here. */
  observe(seats: Activities['seats']): Activities['seats'] {
    const observed =
      <Request extends { reservation_id: string }>(step: (request: Request) => Promise<HoldResult>) =>
      async (request: Request) => {
        const result = await step(request);
        this.#outcomes.emit(request.reservation_id, toReserved(result));
        return result;
      };
    return { ...seats, holdSeats: observed(seats.holdSeats), resolveHold: observed(seats.resolveHold) };
  }
}
