package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/table"
)

// AccessLogConfig describes an AccessLog.
type AccessLogConfig struct {
	// Writer gets whole lines, several at a time.
	Writer io.Writer
	// Every is how long a line waits at most; 0 is a second.
	Every time.Duration
	// Pending bounds the lines that wait while the Writer does not take them, in bytes; 0 is 1 MiB. Lines beyond are
	// dropped and counted.
	Pending int
}

// AccessLog writes a line for each request, as the settings' format or ingress-nginx's default has it. Requests do not wait
// for the Writer.
type AccessLog struct {
	cfg     AccessLogConfig
	mu      sync.Mutex
	buf     []byte
	spare   []byte
	wake    chan struct{}
	dropped atomic.Int64
	zone    logTime
	pid     int
}

// flushAt is how many bytes are written without further waiting.
const flushAt = 32 << 10

// NewAccessLog checks the configuration.
func NewAccessLog(cfg AccessLogConfig) (*AccessLog, error) {
	if cfg.Writer == nil {
		return nil, errors.New("the access log needs a writer")
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Pending <= 0 {
		cfg.Pending = 1 << 20
	}
	return &AccessLog{cfg: cfg, wake: make(chan struct{}, 1), pid: os.Getpid()}, nil
}

// Dropped is the number of lines that were dropped.
func (l *AccessLog) Dropped() int64 { return l.dropped.Load() }

// Run writes lines until the context ends, and then what is left. A Writer that fails ends it.
func (l *AccessLog) Run(ctx context.Context) error {
	ticker := time.NewTicker(l.cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.flush()
		case <-ticker.C:
		case <-l.wake:
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

func (l *AccessLog) flush() error {
	l.mu.Lock()
	lines := l.buf
	l.buf, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	var err error
	if len(lines) > 0 {
		_, err = l.cfg.Writer.Write(lines)
	}
	l.mu.Lock()
	if l.spare == nil {
		l.spare = lines[:0]
	}
	l.mu.Unlock()
	return err
}

// Observe implements Observer.
func (l *AccessLog) Observe(r *Record) {
	s := &r.Settings.Log
	if s.Off || s.HTTPOff || r.Route != nil && r.Route.Location != nil && r.Route.Location.NoAccessLog {
		return
	}
	for _, p := range s.SkipPaths {
		if p == r.Path {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) >= l.cfg.Pending {
		l.dropped.Add(1)
		return
	}
	l.buf = append(l.append(l.buf, r, s), '\n')
	l.wakeUp()
}

// Line adds a line that another has made, as those of streams.
func (l *AccessLog) Line(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) >= l.cfg.Pending {
		l.dropped.Add(1)
		return
	}
	l.buf = append(append(l.buf, line...), '\n')
	l.wakeUp()
}

func (l *AccessLog) wakeUp() {
	if len(l.buf) < flushAt {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// upstreamInfo is ingress-nginx's default format.
var upstreamInfo = formatOf(
	table.VarRemoteAddr, " - ", table.VarRemoteUser, " [", table.VarTimeLocal, `] "`, table.VarRequestLine, `" `, table.VarStatus, " ",
	table.VarBodyBytesSent, ` "`, table.Part{Var: table.VarHeader, Name: "referer"}, `" "`, table.Part{Var: table.VarHeader, Name: "user-agent"}, `" `,
	table.VarRequestLength, " ", table.VarRequestTime, " [", table.VarUpstreamName, "] [", table.VarAlternativeUpstreamName, "] ",
	table.VarUpstreamAddr, " ", table.VarUpstreamResponseLength, " ", table.VarUpstreamResponseTime, " ", table.VarUpstreamStatus, " ", table.VarRequestID,
)

func formatOf(parts ...any) *table.Text {
	t := &table.Text{}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			t.Parts = append(t.Parts, table.Part{Literal: p})
		case table.Var:
			t.Parts = append(t.Parts, table.Part{Var: p})
		case table.Part:
			t.Parts = append(t.Parts, p)
		}
	}
	return t
}

func (l *AccessLog) append(dst []byte, r *Record, s *table.LogSettings) []byte {
	format := s.Format
	if format == nil {
		format = upstreamInfo
	}
	how := escapeDefault
	switch {
	case s.JSON:
		how = escapeJSON
	case s.EscapeNone:
		how = escapeNone
	}
	for i := range format.Parts {
		p := &format.Parts[i]
		if p.Var == table.VarNone {
			dst = append(dst, p.Literal...)
			continue
		}
		from := len(dst)
		var safe bool
		switch dst, safe = l.appendVar(dst, r, p); {
		case safe:
		case p.Var == table.VarRequestLine && r.Method != "":
			dst = append(escape(dst, r.Method, how), ' ')
			dst = append(escape(dst, r.Target, how), ' ')
			dst = append(dst, r.Version.String()...)
		default:
			dst = escape(dst, r.Lookup(p.Var, p.Name), how)
		}
		if len(dst) == from && how == escapeDefault {
			dst = append(dst, '-')
		}
	}
	return dst
}

type escaping uint8

const (
	escapeDefault escaping = iota
	escapeJSON
	escapeNone
)

const upperHex = "0123456789ABCDEF"

// escape appends a value that came from outside: as nginx does for the default format and for JSON. With
// log-format-escape-none it stands as it is, but for control bytes, with which a client could write lines of its own.
func escape(dst []byte, s string, how escaping) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case how == escapeJSON && (c == '"' || c == '\\'):
			dst = append(dst, '\\', c)
		case how == escapeJSON && c < 0x20:
			switch c {
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
			}
		case how == escapeDefault && (c == '"' || c == '\\' || c < 0x20 || c >= 0x7f), how == escapeNone && c < 0x20:
			dst = append(dst, '\\', 'x', upperHex[c>>4], upperHex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// logTime keeps the texts of the second that was logged last.
type logTime struct {
	unix       int64
	local, iso []byte
}

func (t *logTime) at(now time.Time) {
	if unix := now.Unix(); unix != t.unix || t.local == nil {
		t.unix = unix
		t.local = now.AppendFormat(t.local[:0], "02/Jan/2006:15:04:05 -0700")
		t.iso = now.AppendFormat(t.iso[:0], "2006-01-02T15:04:05-07:00")
	}
}
