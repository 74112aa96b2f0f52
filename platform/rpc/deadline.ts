/** How long a call between services may take when the caller does not say. */
export const defaultDeadlineMs = 10_000;
