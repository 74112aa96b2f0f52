/** Where something listens, and which setting says so. */
export interface Place {
  readonly host: string;
  readonly port: number;
  /** The environment variable of the port. */
  readonly variable: string;
}

/**
 * Runs `open`, which listens at the place. When the port is taken, rejects with a sentence that
 * names it and the setting to change.
 */
export async function openAt<T>(place: Place, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!isTaken(error)) throw error;
    throw new Error(
      `Port ${place.port} on ${place.host} is taken by another process: end that one, or set ${place.variable} to another port.`,
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
