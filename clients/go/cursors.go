package lucky

import (
	"math/rand/v2"
	"time"

	framev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1"
	messagev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// Acknowledgements are joined for this long.
	joinDelay = 50 * time.Millisecond
	// Maximum cursors in a frame when Welcome names no other.
	maxCursors = 200
)

// cursors are the acknowledgements of this device.
type cursors struct {
	byID  map[int64]*cursor
	timer *time.Timer
}

type cursor struct {
	value *messagev1.Cursor
	// dirty says whether the value was not sent on the current socket.
	dirty, urgent bool
	notBefore     time.Time
}

func (s *Session) cursor(id int64) *cursor {
	found, ok := s.cursors.byID[id]
	if !ok {
		found = &cursor{value: &messagev1.Cursor{ConversationId: id}}
		s.cursors.byID[id] = found
	}
	return found
}

// acknowledge reports that the device has every entry up to the last one.
func (s *Session) acknowledge(l *log) {
	if l.last == 0 {
		return
	}
	c := s.cursor(l.id)
	c.value.DeliveredSequence, c.value.Epoch, c.dirty = l.last, l.epoch, true
	s.scheduleCursors(joinDelay)
}

// MarkRead reports that the user has read the conversation up to a sequence.
func (s *Session) MarkRead(conversationID, sequence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cursor(conversationID)
	c.value.ReadSequence, c.value.Epoch = max(c.value.ReadSequence, sequence), s.log(conversationID).epoch
	c.dirty, c.urgent = true, true
	s.scheduleCursors(joinDelay)
}

// repeatCursors repeats all acknowledgements: those of the broken socket may be lost.
func (s *Session) repeatCursors() {
	for _, c := range s.cursors.byID {
		c.dirty = true
		s.scheduleCursors(joinDelay)
	}
}

func (s *Session) scheduleCursors(delay time.Duration) {
	if s.cursors.timer != nil {
		return
	}
	s.cursors.timer = time.AfterFunc(delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cursors.timer = nil
		s.flushCursors(false)
	})
}

// flushCursors sends the cursors that are due; a conversation waits about half a second between two
// acknowledgements, so that members of a busy group do not send more than they receive.
func (s *Session) flushCursors(all bool) {
	if s.writes == nil {
		return // They are repeated on the next socket.
	}
	limit := int(s.welcome.GetLimits().GetMaxCursors())
	if limit <= 0 {
		limit = maxCursors
	}
	now, wait := time.Now(), time.Duration(0)
	due := []*messagev1.Cursor{}
	for _, c := range s.cursors.byID {
		if !c.dirty {
			continue
		}
		if late := c.notBefore.Sub(now); !all && !c.urgent && late > 0 || len(due) == limit {
			wait = max(joinDelay, late)
			continue
		}
		c.dirty, c.urgent = false, false
		c.notBefore = now.Add(400*time.Millisecond + rand.N(200*time.Millisecond))
		due = append(due, proto.CloneOf(c.value))
	}
	if len(due) > 0 {
		request := &messagev1.AcknowledgeRequest{Cursors: due}
		s.write(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Acknowledge{Acknowledge: request}})
	}
	if wait > 0 {
		s.scheduleCursors(wait)
	}
}
