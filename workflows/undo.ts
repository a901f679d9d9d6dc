/** How to take a saga's steps back. */
export class UndoStack {
  readonly #undos: (() => Promise<void>)[] = [];

  /** Goes on the line above its step: a step that reports failure may have taken effect all the same. */
  push(undo: () => Promise<void>): void {
    this.#undos.push(undo);
  }

  /** Last in, first out. An undo retries without end and never gives up half way. */
  async run(): Promise<void> {
    for (let undo = this.#undos.pop(); undo; undo = this.#undos.pop()) await undo();
  }
}
