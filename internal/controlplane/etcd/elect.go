package etcd

import (
	"context"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	electTick = time.Millisecond
	// calmTicks is how many ticks in a row a restarted member must have nothing
	// to apply, and calmGap how late a tick may be to count: later ones mean that
	// goroutines wait for a processor, raft's maybe too.
	calmTicks = 20
	calmGap   = 5 * time.Millisecond
)

// elect makes the only member campaign as soon as it can, as if a leader had
// told it to take over. By itself it would wait for an election timeout to
// pass; a timeout so short that this doesn't matter would mean a timer firing a
// hundred times a second for ever.
//
// Raft must not be told while a restarted member replays its log: it would look
// into entries that etcd, having applied them, may have dropped already, and
// take their absence for corruption. A fresh member has too few entries for
// etcd to drop any.
func elect(ctx context.Context, server *etcdserver.EtcdServer, fresh bool) {
	id := uint64(server.MemberID())
	tick := time.NewTicker(electTick)
	defer tick.Stop()
	calm, last := 0, time.Now()
	for server.Leader() == 0 {
		now := time.Now()
		committed := server.CommittedIndex()
		if committed == 0 || server.AppliedIndex() != committed || now.Sub(last) > calmGap {
			calm = 0
		}
		last = now
		switch calm++; {
		case fresh:
			// Refused without harm until the member has applied its own membership.
			if err := server.Process(ctx, takeOver(id)); err != nil {
				return
			}
		case calm > calmTicks:
			// Once: should it be refused, the election timeout is still running.
			_ = server.Process(ctx, takeOver(id))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-server.StopNotify():
			return
		case <-tick.C:
		}
	}
}

// takeOver is the message with which a leader hands over to a member.
func takeOver(id uint64) raftpb.Message {
	return raftpb.Message{Type: raftpb.MsgTimeoutNow, From: id, To: id}
}
