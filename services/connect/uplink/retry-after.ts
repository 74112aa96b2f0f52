/**
 * Delay before a device retries a send or call that was refused because of overload or an outage.
 */
export const RETRY_AFTER_MS = 1_000;
