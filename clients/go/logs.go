package lucky

import (
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	framev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1"
	messagev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1"
)

const (
	// Entries overtake each other slightly, so a gap may close by itself.
	gapDelay             = 200 * time.Millisecond
	entriesPerPage       = 500
	conversationsPerPage = 200
	// Largest number of entries that one conversation buffers behind a gap; later ones are fetched.
	maxBuffered   = 1000
	longestResync = time.Minute
)

// logs are the logs of all conversations on this device.
type logs struct {
	byID   map[int64]*log
	cursor string
	// synced says whether a sync was ever complete: then an unknown conversation is new.
	synced    bool
	syncing   bool
	requested bool
	// resync is the ceiling of the random delay before an incomplete sync is repeated.
	resync time.Duration
}

// log is one conversation on this device.
type log struct {
	id int64
	// begun says whether last is known; entries are buffered until then.
	begun bool
	// last is the sequence up to which the device has every entry, known the greatest one that exists.
	last, known, epoch int64
	buffer             map[int64]buffered
	// fetching is closed when the running fetch ends; nil when none runs.
	fetching chan struct{}
	gap      *time.Timer
}

type buffered struct {
	entry *messagev1.Entry
	own   bool
}

func (s *Session) log(id int64) *log {
	found, ok := s.logs.byID[id]
	if !ok {
		found = &log{id: id, buffer: map[int64]buffered{}}
		s.logs.byID[id] = found
	}
	return found
}

func (s *Session) deliver(entries []*messagev1.Entry) {
	for _, entry := range entries {
		s.offer(entry, s.isOwn(entry))
		if known := s.log(entry.GetConversationId()); known.begun {
			s.acknowledge(known) // Also for a duplicate: the acknowledgement may have been lost.
		}
	}
}

// offer takes one entry, late or duplicated, and releases those that are next.
func (s *Session) offer(entry *messagev1.Entry, own bool) {
	l, sequence := s.log(entry.GetConversationId()), entry.GetSequence()
	l.known = max(l.known, sequence)
	if l.begun && sequence <= l.last {
		return
	}
	one, known := l.buffer[sequence]
	if known || own || len(l.buffer) < maxBuffered || l.begun && sequence == l.last+1 {
		l.buffer[sequence] = buffered{entry, own || one.own}
	}
	if !l.begun && s.logs.synced {
		l.begun = true
		s.requestSync() // Fetches its name and members.
	}
	s.release(l)
	if l.begun && l.known > l.last && l.gap == nil && l.fetching == nil {
		l.gap = time.AfterFunc(gapDelay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			l.gap = nil
			s.fetch(l)
		})
	}
}

// release hands out the entries that follow the last one.
func (s *Session) release(l *log) {
	for l.begun {
		next, ok := l.buffer[l.last+1]
		if !ok {
			return
		}
		delete(l.buffer, l.last+1)
		l.last++
		if !next.own {
			handle(s.options.Message, next.entry)
		}
		s.acknowledge(l)
	}
}

// begin starts a log after a sequence.
func (s *Session) begin(l *log, last int64) {
	l.begun, l.last = true, last
	l.known = max(l.known, last)
	for sequence := range l.buffer {
		if sequence <= last {
			delete(l.buffer, sequence)
		}
	}
	s.release(l)
}

// enterEpoch discards what the device holds from another epoch; true when there was anything.
func (s *Session) enterEpoch(l *log, epoch int64) bool {
	had := l.begun && l.epoch != 0 && l.epoch != epoch
	l.epoch = epoch
	if had {
		l.last, l.known, l.buffer = 0, 0, map[int64]buffered{}
		handle(s.options.Reset, l.id)
	}
	return had
}

func (s *Session) syncRequired(required *framev1.SyncRequired) {
	l := s.log(required.GetConversationId())
	l.known = max(l.known, required.GetLastSequence())
	switch {
	case !l.begun:
		s.requestSync()
	case l.known > l.last:
		s.fetch(l)
	default:
		s.acknowledge(l)
	}
}

// fetch gets the entries after the last one in the background.
func (s *Session) fetch(l *log) {
	if l.fetching != nil || !l.begun || l.known <= l.last {
		return
	}
	done := make(chan struct{})
	l.fetching = done
	go func() {
		s.fetchAll(l)
		s.mu.Lock()
		defer s.mu.Unlock()
		l.fetching = nil
		close(done)
	}()
}

// fetchAll gets pages until the device has every entry. A page that starts later than the next
// sequence contains no gap: the user joined later.
func (s *Session) fetchAll(l *log) {
	for s.ctx.Err() == nil {
		s.mu.Lock()
		behind := l.known > l.last
		request := &messagev1.ListEntriesRequest{
			ConversationId: l.id,
			Position:       &messagev1.ListEntriesRequest_AfterSequence{AfterSequence: l.last},
			PageSize:       entriesPerPage,
		}
		heard := l.known
		s.mu.Unlock()
		if !behind {
			return
		}
		var page *messagev1.ListEntriesResponse
		err := s.retrying(func() error {
			answer, err := s.client.Messages.ListEntries(s.ctx, connect.NewRequest(request))
			if err == nil {
				page = answer.Msg
			}
			return err
		})
		if err != nil {
			s.mu.Lock()
			l.known = l.last // The user may no longer read it. An entry or a sync tells when that changes.
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		if s.enterEpoch(l, page.GetEpoch()) {
			l.known = max(l.known, page.GetLastSequence())
		} else if entries := page.GetEntries(); len(entries) > 0 {
			if first := entries[0].GetSequence(); first > l.last+1 {
				s.begin(l, first-1)
			}
			for _, entry := range entries {
				s.offer(entry, s.isOwn(entry))
			}
		} else if l.known <= heard {
			l.known, l.buffer = l.last, map[int64]buffered{}
		}
		s.mu.Unlock()
	}
}

// retrying repeats a call with back-off until it succeeds, fails for good, or the session ends.
func (s *Session) retrying(call func() error) error {
	for attempt := 0; ; attempt++ {
		err := call()
		if err == nil || s.ctx.Err() != nil || !ErrorOf(err).retryable() {
			return err
		}
		ceiling := min(30*time.Second, 500*time.Millisecond<<min(attempt, 10))
		select {
		case <-time.After(ErrorOf(err).RetryAfter + rand.N(ceiling)):
		case <-s.ctx.Done():
		}
	}
}

// requestSync catches up in the background; requests during a sync are served by one more.
func (s *Session) requestSync() {
	s.logs.requested = true
	if s.logs.syncing {
		return
	}
	s.logs.syncing = true
	go func() {
		for {
			s.mu.Lock()
			if !s.logs.requested || s.ctx.Err() != nil {
				s.logs.syncing = false
				s.mu.Unlock()
				return
			}
			s.logs.requested = false
			s.mu.Unlock()
			s.sync()
		}
	}()
}

// sync reads the changed conversations page by page. The cursor moves only after the entries of a
// page have arrived, so a crash in between repeats work and loses nothing.
func (s *Session) sync() {
	for {
		s.mu.Lock()
		request := &messagev1.SyncRequest{Cursor: s.logs.cursor, PageSize: conversationsPerPage}
		s.mu.Unlock()
		var page *messagev1.SyncResponse
		err := s.retrying(func() error {
			answer, err := s.client.Messages.Sync(s.ctx, connect.NewRequest(request))
			if err == nil {
				page = answer.Msg
			}
			return err
		})
		if err != nil {
			return // The session ends, or the login is over: the socket tells.
		}
		for _, conversation := range page.GetConversations() {
			s.catchUp(conversation)
		}
		s.mu.Lock()
		if s.ctx.Err() != nil {
			s.mu.Unlock()
			return
		}
		s.logs.cursor = page.GetNextCursor()
		if !page.GetHasMore() {
			s.endSync(time.Duration(page.GetRetryAfterMs()) * time.Millisecond)
		}
		s.mu.Unlock()
		if !page.GetHasMore() {
			return
		}
	}
}

// endSync takes the last page of a sync.
func (s *Session) endSync(retryAfter time.Duration) {
	if retryAfter == 0 {
		s.logs.resync, s.logs.synced = 0, true
		for _, l := range s.logs.byID {
			if !l.begun { // New since the sync began.
				s.begin(l, 0)
				s.fetch(l)
			}
		}
		return
	}
	// The devices of all users would otherwise repeat their syncs at the same time.
	s.logs.resync = min(longestResync, max(retryAfter, 2*s.logs.resync))
	time.AfterFunc(retryAfter+rand.N(s.logs.resync), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requestSync()
	})
}

// catchUp gets what the device misses of one conversation.
func (s *Session) catchUp(conversation *messagev1.Conversation) {
	s.mu.Lock()
	l := s.log(conversation.GetConversationId())
	handle(s.options.Conversation, conversation)
	s.enterEpoch(l, conversation.GetEpoch())
	l.known = max(l.known, conversation.GetLastSequence())
	if !l.begun {
		s.begin(l, s.startOf(l, conversation))
	}
	for s.fetch(l); l.fetching != nil; s.fetch(l) {
		done := l.fetching
		s.mu.Unlock()
		<-done
		s.mu.Lock()
		if s.ctx.Err() != nil {
			break
		}
	}
	defer s.mu.Unlock()
	if conversation.GetDeliveredSequence() < l.last {
		s.acknowledge(l)
	}
}

// startOf is the sequence after which the device begins in a conversation that it sees first.
func (s *Session) startOf(l *log, conversation *messagev1.Conversation) int64 {
	if s.logs.synced || s.options.AllHistory {
		return 0
	}
	start := conversation.GetDeliveredSequence()
	for sequence := range l.buffer { // An entry that was delivered to this session is new.
		start = min(start, sequence-1)
	}
	return max(start, conversation.GetFirstSequence()-1)
}
