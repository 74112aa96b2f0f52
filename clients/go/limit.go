package lucky

import (
	framev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// Each of these amounts adds 1 to the weight of a frame.
	bytesPerWeight  = 16_384
	fieldsPerWeight = 40
)

// outgoing is an encoded frame and its weight.
type outgoing struct {
	data   []byte
	weight int
}

// frameLimiter throttles frames below the server's rate limit: other sessions of the user share it.
func frameLimiter(limits *framev1.Limits) *rate.Limiter {
	if limits.GetFramesPerSecond() <= 0 || limits.GetFramesBurst() <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	perSecond := 0.8 * float64(limits.GetFramesPerSecond())
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(limits.GetFramesBurst())*3/4))
}

// frameWeight is the number of frames that a frame counts as in the server's rate limit, at most.
func frameWeight(frame *framev1.ClientFrame, encodedBytes int) int {
	return 1 + encodedBytes/bytesPerWeight + fieldsOf(frame.ProtoReflect())/fieldsPerWeight
}

// fieldsOf counts the fields of a message at all depths.
func fieldsOf(message protoreflect.Message) int {
	count := 0
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList():
			list := value.List()
			count += list.Len()
			for at := 0; field.Message() != nil && at < list.Len(); at++ {
				count += fieldsOf(list.Get(at).Message())
			}
		case field.Message() != nil:
			count += 1 + fieldsOf(value.Message())
		default:
			count++
		}
		return true
	})
	return count
}
