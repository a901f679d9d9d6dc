/** Every workflow that a worker runs. */
export { reservation } from './reservation.ts';
