/** Who looks on while a sale goes on, in a process of their own: they are not to delay the attempts that are measured. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

export const Audience = Type.Object({
  /** Of the live changes. */
  viewers: Type.Number(),
  stream_url: Type.String(),
  maps_per_second: Type.Number(),
  maps_url: Type.String(),
  /** Whether who reads the map says which one it has. */
  conditional: Type.Boolean(),
  seconds: Type.Number(),
});
export type Audience = Static<typeof Audience>;

const Latencies = Type.Record(Type.String(), Type.Unknown());

/** How late the changes came, and the maps; by kind of answer. */
const Seen = Type.Object({ live: Latencies, maps: Latencies });

/** Resolves once the viewers are there and the readers have begun. */
export async function gather(audience: Audience) {
  const child = fork(fileURLToPath(new URL('./audience-process.js', import.meta.url)), [JSON.stringify(audience)]);
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the audience left without a word')));
  await Promise.race([once(child, 'message'), ended]);
  return {
    /** Resolves when the last map has come, with what all have seen. */
    async leave(): Promise<Static<typeof Seen>> {
      child.send('leave');
      const [seen]: unknown[] = await Promise.race([once(child, 'message'), ended]);
      ended.catch(() => undefined);
      return Value.Parse(Seen, seen);
    },
  };
}
