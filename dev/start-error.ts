/** A start that cannot go on; its message is the one line to print. */
export class StartError extends Error {
  override name = 'StartError';
}
