import { setImmediate as endOfTurn } from 'node:timers/promises';
import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll, isBrokenCircuitError } from 'cockatiel';
import type { Redis, Result } from 'ioredis';
import type { Logger } from 'pino';
import { SEAT_CHANGES_GAP, SEAT_CHANGES_KEPT, bookedSeats, seatChanges, seatLock } from '../domain/redis-keys.ts';
import type { SeatStatus, SeatsOfReservation } from '../domain/model.ts';

/** In the place of a reservation, where a seat is sold. */
const SOLD = 'sold';

/** Who has a seat: the reservation that has locked it, SOLD, or nothing. */
const HOLDER_OF = `
local function holder_of(lock, seat)
  local sold = redis.call('SISMEMBER', KEYS[1], seat) == 1
  return sold and '${SOLD}' or redis.call('GET', lock) or ''
end`;

/** Who has each seat. */
const FIND_HOLDERS = `${HOLDER_OF}
local holders = {}
for i = 2, #KEYS do holders[i - 1] = holder_of(KEYS[i], ARGV[i - 1]) end
return holders`;

/** All or none. A seat that this reservation has locked already is locked anew, so a repeat is harmless. */
const LOCK = `${HOLDER_OF}
local owner, ttl_ms, taken = ARGV[1], ARGV[2], {}
for i = 2, #KEYS do
  local holder = holder_of(KEYS[i], ARGV[i + 1])
  if holder ~= '' and holder ~= owner then taken[#taken + 1] = ARGV[i + 1] end
end
if #taken == 0 then
  for i = 2, #KEYS do
    if not redis.call('SET', KEYS[i], owner, 'NX', 'PX', ttl_ms) then redis.call('PEXPIRE', KEYS[i], ttl_ms) end
  end
end
return taken`;

/** Only the owner's locks are deleted. A sold seat is noted in the same step, so that it is refused throughout. */
const UNLOCK = `
local owner, sold = ARGV[1], ARGV[2]
for i = 2, #KEYS do
  if sold == '1' then redis.call('SADD', KEYS[1], ARGV[i + 1]) end
  if redis.call('GET', KEYS[i]) == owner then redis.call('DEL', KEYS[i]) end
end`;

/**
 * Tells of seats whose lock is this reservation's, or nobody's: what is told late, of a seat that the next buyer has by
 * now, is not told at all. So the changes of a seat keep their order.
 */
const ANNOUNCE = `
local owner, status, kept = ARGV[1], ARGV[2], ARGV[3]
for i = 2, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if not holder or holder == owner then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', 'seat_id', ARGV[i + 2], 'status', status)
  end
end`;

/** Bounds one command; a look-up has one request's seats more than this at most. */
const LOOKED_UP_AT_ONCE = 500;

/** Lua at a Redis that has or has not seen it: EVALSHA, and EVAL once after a restart. */
function defineScripts(redis: Redis) {
  redis.defineCommand('findSeatHolders', { lua: FIND_HOLDERS });
  redis.defineCommand('lockSeats', { lua: LOCK });
  redis.defineCommand('unlockSeats', { lua: UNLOCK });
  redis.defineCommand('announceSeats', { lua: ANNOUNCE });
}

declare module 'ioredis' {
  interface RedisCommander<Context> {
    findSeatHolders(keyCount: number, ...keysAndArguments: (string | number)[]): Result<string[], Context>;
    lockSeats(keyCount: number, ...keysAndArguments: (string | number)[]): Result<string[], Context>;
    unlockSeats(keyCount: number, ...keysAndArguments: (string | number)[]): Result<null, Context>;
    announceSeats(keyCount: number, ...keysAndArguments: (string | number)[]): Result<null, Context>;
  }
}

/**
 * The filter in front of PostgreSQL. It never decides: while Redis is away a circuit breaker opens, nothing is locked,
 * and the guarded statement in PostgreSQL refuses the second buyer by itself.
 */
export function createSeatLocks(redis: Redis, log: Logger) {
  defineScripts(redis);
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 1_000, breaker: new ConsecutiveBreaker(3) });
  breaker.onBreak(() => log.warn('Redis does not answer: seats are held without locks'));
  breaker.onReset(() => log.info('Redis answers again'));

  /** Events of which changes may not have been told; as many as there are on sale. */
  const untold = new Set<string>();

  /** Their viewers are told to read the map again, as soon as anything is answered. */
  async function tellOfGaps(): Promise<void> {
    for (const eventId of [...untold]) {
      untold.delete(eventId);
      await redis
        .xadd(seatChanges(eventId), 'MAXLEN', '~', SEAT_CHANGES_KEPT, '*', SEAT_CHANGES_GAP, '')
        .catch(() => untold.add(eventId));
    }
  }

  /** What `command` answers, or `otherwise` while Redis is away. */
  async function orWithout<T>(otherwise: T, command: () => Promise<T>): Promise<T> {
    try {
      const answer = await breaker.execute(command);
      if (untold.size > 0) void tellOfGaps();
      return answer;
    } catch (error) {
      if (!isBrokenCircuitError(error)) log.warn({ err: error }, 'a command to Redis failed');
      return otherwise;
    }
  }

  type Seats = Pick<SeatsOfReservation, 'event_id' | 'seat_ids'>;
  const locksOf = ({ event_id, seat_ids }: Seats) => seat_ids.map((seatId) => seatLock(event_id, seatId));
  const keys = (seats: Seats) => [bookedSeats(seats.event_id), ...locksOf(seats)];

  /** The seats of one event that are looked up together. */
  interface LookUp {
    seat_ids: Set<string>;
    /** By seat, who has it, or nothing. */
    holders: Promise<Map<string, string>>;
  }

  const lookUps = new Map<string, LookUp>();

  /** All that is asked of an event in one turn of the event loop goes to Redis as one command. */
  function joinLookUp(event_id: string): LookUp {
    const underWay = lookUps.get(event_id);
    if (underWay && underWay.seat_ids.size < LOOKED_UP_AT_ONCE) return underWay;
    const seat_ids = new Set<string>();
    const lookUp = {
      seat_ids,
      holders: endOfTurn().then(() => {
        if (lookUps.get(event_id) === lookUp) lookUps.delete(event_id);
        return findHolders({ event_id, seat_ids: [...seat_ids] });
      }),
    };
    lookUps.set(event_id, lookUp);
    return lookUp;
  }

  async function findHolders(seats: Seats): Promise<Map<string, string>> {
    const { seat_ids } = seats;
    const holders = await orWithout([], () => redis.findSeatHolders(seat_ids.length + 1, ...keys(seats), ...seat_ids));
    return new Map(seat_ids.map((seatId, i) => [seatId, holders[i] ?? '']));
  }

  return {
    /** Whether taken seats are refused by PostgreSQL alone. */
    get isAway(): boolean {
      return breaker.state !== CircuitState.Closed;
    },

    /** Which of the seats another reservation has. It may miss some, and misses all while Redis is away. */
    async findTaken({ event_id, reservation_id, seat_ids }: SeatsOfReservation): Promise<string[]> {
      const lookUp = joinLookUp(event_id);
      for (const seatId of seat_ids) lookUp.seat_ids.add(seatId);
      const holders = await lookUp.holders;
      return seat_ids.filter((seatId) => !['', reservation_id].includes(holders.get(seatId) ?? ''));
    },

    /** Locks all seats or none; answers the seats that another reservation has. */
    async lock(seats: SeatsOfReservation, ttlMs: number): Promise<{ conflicts: string[] }> {
      const { reservation_id, seat_ids } = seats;
      const conflicts = await orWithout([], () =>
        redis.lockSeats(seat_ids.length + 1, ...keys(seats), reservation_id, ttlMs, ...seat_ids),
      );
      return { conflicts };
    },

    /**
     * Deletes the locks that this reservation owns; seats that are `sold` stay refused. Rejects while Redis is away:
     * a lock that stays would refuse buyers of a free seat.
     */
    async unlock(seats: SeatsOfReservation, sold = false): Promise<void> {
      const { reservation_id, seat_ids } = seats;
      await breaker.execute(() =>
        redis.unlockSeats(seat_ids.length + 1, ...keys(seats), reservation_id, sold ? 1 : 0, ...seat_ids),
      );
    },

    /** Refuses seats again that are sold, once Redis has lost what it knew. */
    async noteSold(eventId: string, seatIds: string[]): Promise<void> {
      await breaker.execute(() => redis.sadd(bookedSeats(eventId), seatIds));
    },

    /** Lets seats be held again that were noted as sold and are not. */
    async forgetSold(eventId: string, seatIds: string[]): Promise<void> {
      await breaker.execute(() => redis.srem(bookedSeats(eventId), seatIds));
    },

    /** Tells the viewers of the event what became of seats; before they are unlocked. */
    async announce(seats: SeatsOfReservation, status: SeatStatus): Promise<void> {
      const { event_id, reservation_id, seat_ids } = seats;
      const keysToRead = [seatChanges(event_id), ...locksOf(seats)];
      const isTold = await orWithout(false, () =>
        redis
          .announceSeats(keysToRead.length, ...keysToRead, reservation_id, status, SEAT_CHANGES_KEPT, ...seat_ids)
          .then(() => true),
      );
      if (!isTold) untold.add(event_id);
    },
  };
}

export type SeatLocks = ReturnType<typeof createSeatLocks>;
