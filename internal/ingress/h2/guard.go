package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// guard ends a connection whose client sends frames that cost this side much and itself nothing: it resets the
// streams that it opens (rapid reset), has this side reset them by breaking the rules on them, or sends pings, settings and
// the like without end.
type guard struct {
	window                  int64
	opened, resets, control int64
	useful                  int64 // frames of bodies that this side had sent when the window began
}

// What a client may send within floodWindow.
const (
	floodWindow  = int64(10 * time.Second)
	mostResets   = 200  // and more only if they are less than half of the streams
	mostControl  = 2000 // frames other than HEADERS, DATA with bytes, and WINDOW_UPDATE, and two for each frame of a body that it gets
	mostContinue = 32   // continuations of one header block
)

var errFlood = connError{http2.ErrCodeEnhanceYourCalm, "it sends too many frames that cost the other side alone"}

// count counts a frame. It returns an error if there are too many. sent is how many frames of bodies this side has sent: clients
// of gRPC answer them with pings, to measure the path.
func (g *guard) count(f frame, now, sent int64) error {
	if now-g.window > floodWindow {
		*g = guard{window: now, useful: sent}
	}
	switch {
	case f.kind == http2.FrameHeaders:
		g.opened++
	case f.kind == http2.FrameRSTStream:
		g.resets++
	case f.kind == http2.FrameContinuation, f.kind == http2.FrameWindowUpdate:
	case f.kind == http2.FrameData && (f.length > 0 || f.flags&http2.FlagDataEndStream != 0):
	default:
		g.control++
	}
	if g.control > mostControl+2*(sent-g.useful) {
		return errFlood
	}
	return g.judge()
}

// fault counts a stream that this side has to reset for what the client does.
func (g *guard) fault() error {
	g.resets++
	return g.judge()
}

func (g *guard) judge() error {
	if g.resets > mostResets && 2*g.resets >= g.opened {
		return errFlood
	}
	return nil
}
