package etcd

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// What etcd keeps by default, and how often it looks.
const (
	keptFiles     = 5
	purgeInterval = 30 * time.Second
	purgeRetry    = time.Second
)

// purger deletes old segments of the write-ahead log and old snapshots. etcd
// itself takes a directory that cannot be opened at one look for a reason to
// end the process; the usual cause, a process that is out of descriptors,
// passes by itself. So etcd's own purging is off, and its functions are called
// from here until they succeed.
type purger struct {
	dir             string // etcd's
	interval, retry time.Duration
	log             *slog.Logger
}

// run purges until ctx ends.
func (p purger) run(ctx context.Context) {
	snapshots := filepath.Join(p.dir, "member", "snap")
	var g errgroup.Group
	g.Go(func() error {
		p.again(ctx, snapshots, "snap.db", fileutil.PurgeFileWithoutFlock)
		return nil
	})
	g.Go(func() error {
		p.again(ctx, snapshots, "snap", fileutil.PurgeFileWithoutFlock)
		return nil
	})
	g.Go(func() error {
		p.again(ctx, filepath.Join(p.dir, "member", "wal"), "wal", fileutil.PurgeFileWithDoneNotify)
		return nil
	})
	_ = g.Wait()
}

// purgeFunc is one of etcd's: it purges until stop is closed or there is an
// error, which it sends.
type purgeFunc func(log *zap.Logger, dir, suffix string, keep uint, interval time.Duration, stop <-chan struct{}) (done <-chan struct{}, failed <-chan error)

func (p purger) again(ctx context.Context, dir, suffix string, purge purgeFunc) {
	for {
		done, failed := purge(zapLogger(p.log), dir, suffix, keptFiles, p.interval, ctx.Done())
		<-done
		select {
		case err := <-failed:
			p.log.Warn("Old files of etcd could not be deleted, will try again", "dir", dir, "suffix", suffix, "error", err)
		default: // ctx has ended
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.retry):
		}
	}
}
