package ingress

import (
	"fmt"
	"os"
)

const (
	socketAccessLog = "access-log"
	// accessLogSize is how large the access log becomes before it begins anew.
	accessLogSize = 64 << 20
)

// accessLog writes to a file that was opened for appending by somebody who may open it, and keeps it from filling the disk.
type accessLog struct{ file *os.File }

// Write implements io.Writer.
func (l *accessLog) Write(p []byte) (int, error) {
	if info, err := l.file.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > accessLogSize {
		if err := l.file.Truncate(0); err != nil {
			return 0, fmt.Errorf("begin the access log anew: %w", err)
		}
	}
	return l.file.Write(p)
}
