/** A message to a phone. */
export interface Sms {
  /** E.164. */
  readonly phone: string;
  /** Secret: it contains a code. */
  readonly text: string;
  /** Id of the message, the same in each retry. Gateways that support it deduplicate by this id. */
  readonly smsId: string;
}

/** Sends text messages to phones. Adapters: console, HTTP. */
export interface SmsSender {
  /**
   * Passes a message to the gateway. Rejects with SMS_NOT_SENT when the sender has used up its time
   * and attempts, or the signal aborts; the phone may still receive the message. Never logs the text
   * or the number.
   */
  send(sms: Sms, signal: AbortSignal): Promise<void>;
  /** Waits for attempts in flight, without further retries. Idempotent. */
  close(): Promise<void>;
}
