package lucky

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	framev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1"
	messagev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1"
	"google.golang.org/protobuf/proto"
)

// sends are the messages without a result, in the order of their calls.
type sends struct {
	pending []*send
}

// send is one message without a result.
type send struct {
	request  *messagev1.SendRequest
	target   string
	inFlight bool
	attempts int
	// notBefore delays a send that was refused for a time, and all later ones to its target.
	notBefore time.Time
	outcome   chan outcome
}

type outcome struct {
	accepted *messagev1.Accepted
	err      error
}

// ToUser is the direct conversation with a user; the first message creates it.
func ToUser(userID int64) *messagev1.SendRequest {
	return &messagev1.SendRequest{Target: &messagev1.SendRequest_UserId{UserId: userID}}
}

// ToConversation is a conversation, such as a group.
func ToConversation(conversationID int64) *messagev1.SendRequest {
	return &messagev1.SendRequest{Target: &messagev1.SendRequest_ConversationId{ConversationId: conversationID}}
}

// Text is the content of a plain text message.
func Text(text string) *messagev1.Content {
	return &messagev1.Content{Kind: &messagev1.Content_Text{Text: &messagev1.Text{Text: text}}}
}

// Send sends content to a target and waits until the message is durable. It repeats the send under
// its client_message_id until there is a result, also over several sockets. Without an id in the
// target it gets a random one. When ctx ends first, the outcome is unknown and the send goes on.
func (s *Session) Send(ctx context.Context, target *messagev1.SendRequest, content *messagev1.Content) (*messagev1.Accepted, error) {
	request := proto.CloneOf(target)
	request.Content = content
	if request.ClientMessageId == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		request.ClientMessageId = id.String()
	}
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return nil, context.Cause(s.ctx)
	}
	added := s.addSend(request)
	s.dispatch()
	s.mu.Unlock()
	select {
	case result := <-added.outcome:
		return result.accepted, result.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Session) addSend(request *messagev1.SendRequest) *send {
	target, _ := proto.Marshal(&messagev1.SendRequest{Target: request.Target})
	added := &send{request: request, target: string(target), outcome: make(chan outcome, 1)}
	s.sends.pending = append(s.sends.pending, added)
	return added
}

// dispatch writes what may be sent now: in order per target, never two with one key.
func (s *Session) dispatch() {
	if s.writes == nil {
		return
	}
	limit := int(s.welcome.GetLimits().GetMaxSendsInFlight())
	inFlight, keys := 0, map[string]bool{}
	for _, one := range s.sends.pending {
		if one.inFlight {
			inFlight++
			keys[one.request.ClientMessageId] = true
		}
	}
	delayed := map[string]bool{}
	now := time.Now()
	for _, one := range s.sends.pending {
		if limit > 0 && inFlight >= limit {
			return
		}
		if now.Before(one.notBefore) || keys[one.request.ClientMessageId] && !one.inFlight {
			delayed[one.target] = true
		}
		if one.inFlight || delayed[one.target] {
			continue
		}
		if !s.write(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Send{Send: one.request}}) {
			return
		}
		one.inFlight = true
		one.attempts++
		keys[one.request.ClientMessageId] = true
		inFlight++
	}
}

// settle takes the result of a send.
func (s *Session) settle(result *messagev1.SendResult) {
	for at, one := range s.sends.pending {
		if !one.inFlight || one.request.ClientMessageId != result.GetClientMessageId() {
			continue
		}
		if accepted := result.GetAccepted(); accepted != nil {
			s.offer(entryOf(one.request, accepted, s.welcome.GetUserId()), true)
			one.outcome <- outcome{accepted: accepted}
		} else {
			refused := result.GetRefused()
			err := errorFrom(0, refused.GetText(), refused.GetError())
			if err.retryable() {
				one.inFlight = false
				wait := max(err.RetryAfter, rand.N(200*time.Millisecond<<min(one.attempts, 5)))
				one.notBefore = time.Now().Add(wait)
				time.AfterFunc(wait, func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.dispatch()
				})
				return
			}
			one.outcome <- outcome{err: err}
		}
		s.sends.pending = append(s.sends.pending[:at:at], s.sends.pending[at+1:]...)
		s.dispatch()
		return
	}
}

// failSends ends the waiting of all senders; the requests stay for State.
func (s *Session) failSends(err error) {
	for _, one := range s.sends.pending {
		select {
		case one.outcome <- outcome{err: err}:
		default: // Nobody waits: a restored send whose first session has ended.
		}
	}
}

// isOwn reports whether the entry is a send of this session that has no result yet.
func (s *Session) isOwn(entry *messagev1.Entry) bool {
	if entry.GetSenderId() != s.welcome.GetUserId() {
		return false
	}
	for _, one := range s.sends.pending {
		if one.attempts > 0 && one.request.ClientMessageId == entry.GetClientMessageId() {
			return true
		}
	}
	return false
}

func entryOf(request *messagev1.SendRequest, accepted *messagev1.Accepted, sender int64) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId:  accepted.GetConversationId(),
		Sequence:        accepted.GetSequence(),
		AcceptedAtMs:    accepted.GetAcceptedAtMs(),
		MessageId:       accepted.GetMessageId(),
		SenderId:        sender,
		ClientMessageId: request.GetClientMessageId(),
		Content:         request.GetContent(),
	}
}
