/** An address to listen on, and the setting of its port. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  /** Environment variable that sets the port. */
  readonly variable: string;
}

/**
 * Runs `open`, which listens on the address. When another process uses the port, rejects with an
 * error for operators, which names the port and the setting to change.
 */
export async function openAt<T>(address: ListenAddress, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!isPortInUse(error)) throw error;
    throw new Error(
      `Port ${address.port} on ${address.host} is taken by another process: end that one, or set ${address.variable} to another port.`,
      { cause: error },
    );
  }
}

function isPortInUse(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ("code" in at && at.code === "EADDRINUSE") return true;
  }
  return false;
}
