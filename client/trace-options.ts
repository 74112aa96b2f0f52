/** The application's own trace, of which a send or a call over the socket is a part. */
export interface TraceOptions {
  /**
   * Context of the application's span: "traceparent" of W3C Trace Context, at most 55 characters. The
   * server continues a sampled trace if its operator allows that, and ignores the context otherwise.
   */
  readonly traceparent?: string;
}
