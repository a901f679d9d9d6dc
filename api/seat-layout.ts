import { createHash } from 'node:crypto';
import type { Seat, SeatStatus } from '../domain/model.ts';

export type PlacedSeat = Omit<Seat, 'status'>;

/** Two bits a seat, in the order of the layout, four seats a byte, the first in the low bits. */
export type PackedStatuses = Buffer;

/** What the two bits mean. */
const STATUSES: readonly SeatStatus[] = ['AVAILABLE', 'HELD', 'BOOKED'];
/** A status as JSON, made as long as the longest, so that a seat's place in the map never moves. */
const PADDED = STATUSES.map((status) => Buffer.from(JSON.stringify(status).padEnd('"AVAILABLE"'.length)));

/** The two bits of a status. */
export const packedStatus = (status: SeatStatus) => STATUSES.indexOf(status);

/** The seats of a show and their places: all of a seat map but who has them. */
export interface SeatLayout {
  /** Names this very layout: another one has another id. */
  id: string;
  /** The seats without their statuses, as JSON. */
  json: Buffer;
  indexOf: ReadonlyMap<string, number>;
  pack(statuses: Iterable<[seatId: string, status: SeatStatus]>): PackedStatuses;
  /** The seat map in full: what `JSON.stringify` of the seats would say, but for spaces. */
  render(statuses: PackedStatuses): Buffer;
}

/** Lays a show out once, so that a map of 50,000 seats is a copy with some bytes changed. */
export function createLayout(seats: readonly PlacedSeat[]): SeatLayout {
  const json = Buffer.from(JSON.stringify(seats));
  const parts = seats.map((seat, i) =>
    Buffer.from(`${i === 0 ? '[' : ','}${JSON.stringify(seat).slice(0, -1)},"status":`),
  );
  const slot = PADDED[0]?.length ?? 0;
  const count = seats.length; // the seats themselves are not kept: fifty thousand objects cost every garbage collection
  const statusAt = new Uint32Array(count);
  let length = count === 0 ? 1 : 0;
  parts.forEach((part, i) => {
    statusAt[i] = length + part.length;
    length += part.length + slot + 1;
  });
  const template = Buffer.concat([
    ...parts.flatMap((part) => [part, PADDED[0] ?? Buffer.alloc(0), Buffer.from('}')]),
    Buffer.from(count === 0 ? '[]' : ']'),
  ]);
  const indexOf = new Map(seats.map(({ seat_id }, i) => [seat_id, i]));

  return {
    id: createHash('sha256').update(json).digest('base64url').slice(0, 22),
    json,
    indexOf,
    pack(statuses) {
      const packed = Buffer.alloc(Math.ceil(count / 4));
      for (const [seatId, status] of statuses) {
        const i = indexOf.get(seatId);
        if (i !== undefined) packed[i >> 2] = (packed[i >> 2] ?? 0) | (packedStatus(status) << ((i & 3) * 2));
      }
      return packed;
    },
    render(statuses) {
      const map = Buffer.from(template);
      statusAt.forEach((at, i) => PADDED[((statuses[i >> 2] ?? 0) >> ((i & 3) * 2)) & 3]?.copy(map, at));
      return map;
    },
  };
}
