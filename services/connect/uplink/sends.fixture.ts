/** The content of a text message. */
export const text = (value: string) => ({ kind: { case: "text", value: { text: value } } });
/** A send to a user, as the kind of a client frame. */
export const toUser = (userId: string, clientMessageId: string) => ({
  case: "send" as const,
  value: {
    target: { case: "userId", value: userId },
    clientMessageId,
    content: text(`text ${clientMessageId}`),
  },
});
