package im.lucky;

import im.lucky.frame.v1.Kick;
import im.lucky.frame.v1.SecurityNotice;
import im.lucky.frame.v1.Welcome;
import im.lucky.message.v1.Conversation;
import im.lucky.message.v1.Entry;
import im.lucky.message.v1.Receipt;
import im.lucky.presence.v1.Typing;

/** Gets the events of a session, one at a time, on the session's thread: it must not block. */
public interface Listener {
  /** The next entry of a conversation: in order, once, without a gap. Not what this session sent. */
  default void onMessage(Entry entry) {}

  /** A conversation that is new, or has changed while the device was away. */
  default void onConversation(Conversation conversation) {}

  /** The epoch of a conversation changed: discard its entries, all come again. */
  default void onReset(long conversationId) {}

  default void onReceipt(Receipt receipt) {}

  default void onTyping(Typing typing) {}

  default void onNotice(SecurityNotice notice) {}

  default void onOpen(Welcome welcome) {}

  /** The session has ended for good. */
  default void onClosed(Closed closed) {}

  /**
   * Why a session or one of its sockets ended.
   *
   * @param code the close code of the WebSocket; 0 when the caller closed it, or without one
   * @param error the failure; null when there is a code
   */
  record Closed(int code, Kick kick, LuckyException error) {}
}
