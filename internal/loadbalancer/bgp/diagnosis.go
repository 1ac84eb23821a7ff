package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// diagnosis is the library's logger. Why a session does not come up is told in its log alone, so complaints about a peer
// are passed on to where the sessions' errors are. The rest is for debugging.
type diagnosis struct {
	out      slog.Handler
	complain func(peer netip.Addr, cause string)
	peer     string
	// quiet drops everything: while a server ends it complains of that.
	quiet func() bool
}

// Enabled is part of slog.Handler.
func (d *diagnosis) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs is part of slog.Handler.
func (d *diagnosis) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *d
	n.out = d.out.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "Key" {
			n.peer = a.Value.String()
		}
	}
	return &n
}

// WithGroup is part of slog.Handler.
func (d *diagnosis) WithGroup(name string) slog.Handler {
	n := *d
	n.out = d.out.WithGroup(name)
	return &n
}

// Handle is part of slog.Handler.
func (d *diagnosis) Handle(ctx context.Context, r slog.Record) error {
	if d.quiet() {
		return nil
	}
	attrs, peer := map[string]string{}, d.peer
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		if a.Key == "Peer" || a.Key == "Key" {
			peer = a.Value.String()
		}
		return true
	})
	if cause := causeOf(r.Message, attrs); cause != "" {
		if address, err := netip.ParseAddr(peer); err == nil {
			d.complain(address, cause)
		}
	}
	if r.Level < slog.LevelWarn {
		r.Level = slog.LevelDebug
	}
	if !d.out.Enabled(ctx, r.Level) {
		return nil
	}
	return d.out.Handle(ctx, r)
}

// causeOf says what an entry of the log means for its peer's session, if it is about that.
func causeOf(message string, attrs map[string]string) string {
	switch message {
	case "failed to connect":
		return "the router can't be reached: " + dialError(attrs["Error"])
	case "outgoing connection IO error":
		return "the router closed the connection before there was a session; compare its AS numbers and addresses with myASN, peerASN and the node's address"
	case "received notification":
		return "the router ended the session: " + notification(attrs)
	case "sent notification":
		return sentCause(attrs)
	case "hold timer expired":
		return "nothing was heard from the router for the hold time"
	case "prefix limit reached":
		return fmt.Sprintf("the router announces more than %d routes, which are not used here; have it announce none to this node", maxReceived)
	}
	return ""
}

// dialError leaves out of an error which addresses were dialled.
func dialError(text string) string {
	if _, after, ok := strings.Cut(text, "->"); ok {
		if _, reason, ok := strings.Cut(after, ": "); ok {
			return reason
		}
	}
	return text
}

// sentCause says why this end has given up a session.
func sentCause(attrs map[string]string) string {
	switch {
	case attrs["Code"] == "2" && attrs["Subcode"] == "2":
		return "the router has another AS number than the peer's peerASN"
	case attrs["Code"] == "2" && attrs["Subcode"] == "3":
		return "the router has the same router ID as this node; give one of them another"
	case attrs["Code"] == "5":
		return "the router refused the session; compare its AS numbers and addresses with myASN, peerASN and the node's address"
	case attrs["Code"] == "6":
		return "" // this end wanted it so
	}
	return "the session was given up: " + notification(attrs)
}

// notification names what a BGP NOTIFICATION says.
func notification(attrs map[string]string) string {
	var code, sub uint8
	if _, err := fmt.Sscan(attrs["Code"], &code); err != nil {
		return "an unknown reason"
	}
	if _, err := fmt.Sscan(attrs["Subcode"], &sub); err != nil {
		return "an unknown reason"
	}
	text := strings.ToLower(bgp.NewNotificationErrorCode(code, sub).String())
	if said := attrs["Communicated-Reason"]; said != "" {
		text += fmt.Sprintf(" (%.128q)", said)
	}
	return text
}
