/**
 * Registers a function to run at the end of a test (`TestContext`) or of a file (`{ after }` of
 * node:test, called at the top of the file: inside a hook the function would run too early).
 */
export interface Teardown {
  after(close: () => Promise<void>): void;
}
