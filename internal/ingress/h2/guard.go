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
	mostControl  = 2000 // frames other than HEADERS, DATA with bytes, and WINDOW_UPDATE; see count
	mostContinue = 32   // continuations of one header block
	mostSettings = 100  // settings of one frame, each of which may change the windows of all streams
)

var errFlood = connError{http2.ErrCodeEnhanceYourCalm, "it sends too many frames that cost the other side alone"}

// count counts a frame. It returns an error if there are too many. sent is how many frames of bodies this side has sent: clients
// of gRPC answer them with pings, to measure the path. Two more frames may come for each of these, and for each stream, which
// browsers give a priority and clients of gRPC reset if its answer came before their last message.
func (g *guard) count(f frame, now, sent int64) error {
	if now-g.window > floodWindow {
		*g = guard{window: now, useful: sent}
	}
	switch {
	case f.kind == http2.FrameHeaders, f.kind == http2.FrameContinuation, f.kind == http2.FrameWindowUpdate:
	case f.kind == http2.FrameData && (f.length > 0 || f.flags&http2.FlagDataEndStream != 0):
	default:
		g.control++
	}
	if g.control > mostControl+2*(sent-g.useful)+2*g.opened {
		return errFlood
	}
	return nil
}

// open counts a stream.
func (g *guard) open() { g.opened++ }

// fault counts a stream that ends for what the client does, while this side works on it.
func (g *guard) fault() error {
	g.resets++
	if g.resets > mostResets && 2*g.resets >= g.opened {
		return errFlood
	}
	return nil
}
