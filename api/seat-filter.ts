import type { Redis } from 'ioredis';
import { bookedSeats, seatLock } from '../domain/redis-keys.ts';

/**
 * Which of the seats another reservation has, by Redis alone. It may miss some, while Redis is away all of them: then
 * PostgreSQL refuses.
 */
export async function findTaken(
  redis: Redis,
  eventId: string,
  seatIds: string[],
  reservationId: string,
): Promise<string[]> {
  const answers = await redis
    .pipeline()
    .mget(seatIds.map((seatId) => seatLock(eventId, seatId)))
    .smismember(bookedSeats(eventId), seatIds)
    .exec()
    .catch(() => null);
  const owners = answers?.[0]?.[1];
  const booked = answers?.[1]?.[1];
  return seatIds.filter(
    (_, i) =>
      (Array.isArray(owners) && typeof owners[i] === 'string' && owners[i] !== reservationId) ||
      (Array.isArray(booked) && booked[i] === 1),
  );
}
