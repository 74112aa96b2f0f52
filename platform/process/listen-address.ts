/** Where something listens, and which setting says so. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  /** The environment variable of the port. */
  readonly variable: string;
}

/**
 * Runs `open`, which listens at the address. When the port is taken, rejects with a sentence that
 * names it and the setting to change.
 */
export async function openAt<T>(address: ListenAddress, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!isTaken(error)) throw error;
    throw new Error(
      `Port ${address.port} on ${address.host} is taken by another process: end that one, or set ${address.variable} to another port.`,
      { cause: error },
    );
  }
}

function isTaken(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ("code" in at && at.code === "EADDRINUSE") return true;
  }
  return false;
}
