import { executionAsyncResource } from 'node:async_hooks';

/** Exported, since a module's own variables go when nothing uses them. */
export const kept: object[] = [];

/**
 * Keeps one of Node's tick objects for as long as the process lives, so that V8 does not forget what they look like.
 *
 * Every `process.nextTick` makes such an object, by code that is quick for one hidden class alone. A garbage collection
 * that finds no tick under way drops the class; the ticks from then on have another one, and each takes three times as
 * long, for good. A request has some ten. Measured in the README.
 */
export function keepTickShape(): void {
  process.nextTick(() => kept.push(executionAsyncResource()));
}
