package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// linksBuffer is the size of the netlink receive buffer in bytes, large enough for many
// Pods that start at once.
const linksBuffer = 1 << 20

// FollowLinks calls each with the kernel's messages about the interfaces of a network
// namespace, or of this process's own if ns has no path. It begins with all that exist.
// It returns nil when ctx ends, and otherwise an error: that of each, or that messages
// were lost.
func FollowLinks(ctx context.Context, ns Netns, each func(netlink.LinkUpdate) error) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	var lost error
	options := netlink.LinkSubscribeOptions{
		ListExisting: true, ReceiveBufferSize: linksBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) { lost = err },
	}
	if ns.Path != "" {
		handle, err := netns.GetFromPath(ns.Path)
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", ns.Name, err)
		}
		defer handle.Close()
		options.Namespace = &handle
	}
	if err := netlink.LinkSubscribeWithOptions(updates, done, options); err != nil {
		close(done) // its socket may be open
		return fmt.Errorf("follow links: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { close(done) })
	defer func() {
		if stop() {
			close(done)
		}
		for range updates { // the subscription ends only once all its messages were received
		}
	}()
	for u := range updates {
		if ctx.Err() != nil {
			return nil
		}
		if err := each(u); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("follow links: %w", errors.Join(lost, errors.New("the kernel's messages ended")))
}
