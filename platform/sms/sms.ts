/** A message to a phone. */
export interface Sms {
  /** E.164. */
  readonly phone: string;
  /** A secret: it holds a code. */
  readonly text: string;
  /** Names the message; a repetition under the same name is not sent again by who can tell. */
  readonly smsId: string;
}

/** Sends text messages to phones. Adapters: console, HTTP. */
export interface SmsSender {
  /**
   * Hands a message over for sending. Rejects with SMS_NOT_SENT when that did not work before the
   * sender's budget of time and attempts was used up or the signal aborted; the phone may get it
   * all the same. Never logs the text or the number.
   */
  send(sms: Sms, signal: AbortSignal): Promise<void>;
  /** Lets go of everything. Idempotent. */
  close(): Promise<void>;
}
