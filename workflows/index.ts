/** Every workflow that a worker runs. */
export { audit, heal } from './audit.ts';
export { giveBack } from './give-back.ts';
export { reservation } from './reservation.ts';

/** Does nothing: run by a process that starts, so that its first buyer does not wait for what is loaded on first use. */
export async function warmUp(): Promise<void> {}
