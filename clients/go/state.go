package lucky

import (
	messagev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1"
	"google.golang.org/protobuf/proto"
)

// State is what a device keeps of a session to resume it: store it, for example as JSON, and pass it
// to the next Open. One state belongs to one user.
type State struct {
	// Cursor is the position of Sync; Synced says whether a sync was ever complete.
	Cursor string `json:"cursor"`
	Synced bool   `json:"synced"`
	// Logs are the positions in the conversations, by their ids.
	Logs map[int64]Position `json:"logs"`
	// Sends are the encoded SendRequests without a result, in the order of their calls.
	Sends [][]byte `json:"sends"`
}

// Position is the sequence up to which a device has every entry of a conversation, and its epoch.
type Position struct {
	Last  int64 `json:"last"`
	Epoch int64 `json:"epoch"`
}

// State returns the current state.
func (s *Session) State() *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := &State{Cursor: s.logs.cursor, Synced: s.logs.synced, Logs: map[int64]Position{}}
	for id, l := range s.logs.byID {
		if l.begun {
			state.Logs[id] = Position{Last: l.last, Epoch: l.epoch}
		}
	}
	for _, one := range s.sends.pending {
		encoded, err := proto.Marshal(one.request)
		if err == nil {
			state.Sends = append(state.Sends, encoded)
		}
	}
	return state
}

func (s *Session) restore(state *State) {
	s.logs.byID = map[int64]*log{}
	s.cursors.byID = map[int64]*cursor{}
	if state == nil {
		return
	}
	s.logs.cursor, s.logs.synced = state.Cursor, state.Synced
	for id, position := range state.Logs {
		l := s.log(id)
		l.begun, l.last, l.known, l.epoch = true, position.Last, position.Last, position.Epoch
	}
	for _, encoded := range state.Sends {
		request := &messagev1.SendRequest{}
		if proto.Unmarshal(encoded, request) == nil {
			s.addSend(request).attempts = 1
		}
	}
}
