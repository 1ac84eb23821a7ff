package dra

import (
	"context"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	healthapi "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
)

// The kubelet's: how soon a driver is asked again how its devices are after a stream has
// ended, and how long that holds of which the driver does not say how long.
const (
	healthPause   = 5 * time.Second
	healthDefault = 30 * time.Second
)

// What a driver can make the node keep: how long a state may hold, and of how many
// devices that are not in its last message.
const (
	healthLongest = 365 * 24 * time.Hour
	healthMost    = 16384
)

// place is where a driver has a device.
type place struct{ pool, device string }

// state is how a device is, until when that holds.
type state struct {
	health  v1.ResourceHealthStatus
	message string
	until   time.Time
}

func (s state) same(o state) bool { return s.health == o.health && s.message == o.message }

// states are how the devices of a driver's instance are; one that is missing is unknown.
type states map[place]state

// with is what holds at a time once a message has come, and the devices that are
// otherwise now. A device that the message lacks stays as it was until its time is over.
func (s states) with(devices []*healthapi.DeviceHealth, now time.Time) (states, []place) {
	next := states{}
	for _, d := range devices {
		at := place{d.GetDevice().GetPoolName(), d.GetDevice().GetDeviceName()}
		if at.device == "" {
			continue
		}
		holds := healthDefault
		if seconds := d.GetHealthCheckTimeoutSeconds(); seconds > 0 {
			holds = time.Duration(min(seconds, int64(healthLongest/time.Second))) * time.Second
		}
		next[at] = state{health: healthOf(d.GetHealth()), message: shortened(d.GetMessage()), until: now.Add(holds)}
	}
	if len(next)+len(s) <= healthMost {
		for at, was := range s {
			if _, told := next[at]; !told && now.Before(was.until) {
				next[at] = was
			}
		}
	}
	var changed []place
	for at, is := range next {
		if was, known := s[at]; !known || !is.same(was) {
			changed = append(changed, at)
		}
	}
	for at := range s {
		if _, known := next[at]; !known {
			changed = append(changed, at)
		}
	}
	return next, changed
}

// end is when the first of the states ends; zero is never.
func (s states) end() time.Time {
	var first time.Time
	for _, is := range s {
		if first.IsZero() || is.until.Before(first) {
			first = is.until
		}
	}
	return first
}

func healthOf(h healthapi.HealthStatus) v1.ResourceHealthStatus {
	switch h {
	case healthapi.HealthStatus_HEALTHY:
		return v1.ResourceHealthStatusHealthy
	case healthapi.HealthStatus_UNHEALTHY:
		return v1.ResourceHealthStatusUnhealthy
	}
	return v1.ResourceHealthStatusUnknown
}

// shortened cuts a message to the bytes that a Pod's status may have, as the kubelet
// does, but between characters.
func shortened(message string) string {
	if len(message) <= v1.ResourceHealthMessageMaxLength {
		return message
	}
	end := v1.ResourceHealthMessageMaxLength - len("...")
	for end > 0 && !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + "..."
}

// health tells how a device of a driver is, as the newest instance says that knows it.
func (s *drivers) health(driver string, at place) (v1.ResourceHealthStatus, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, d := range slices.Backward(s.all[driver]) {
		if is, known := d.states[at]; known && now.Before(is.until) {
			return is.health, is.message
		}
	}
	return v1.ResourceHealthStatusUnknown, ""
}

// watch asks an instance how its devices are until ctx ends. Not every driver knows.
func (s *drivers) watch(ctx context.Context, d *driver) {
	logged := false
	for s.settled(ctx, d) {
		told, err := s.follow(ctx, d)
		s.silence(d)
		if ctx.Err() != nil || status.Code(err) == codes.Unimplemented {
			return
		}
		if told || !logged {
			s.cfg.Logger.Warn("a driver does not tell how its devices are; it is asked again every few seconds", "driver", d.plugin.Name, "error", err)
			logged = true
		}
		if !pause(ctx, healthPause) {
			return
		}
	}
}

// settled waits for a connection that lasts, so that a driver that closes each at once
// is not connected to for this. It returns false if ctx ends before.
func (s *drivers) settled(ctx context.Context, d *driver) bool {
	for {
		if !s.has(d) {
			select {
			case <-ctx.Done():
				return false
			case <-d.up:
			}
		}
		if !pause(ctx, reconnectPause) {
			return false
		}
		if s.has(d) {
			return true
		}
	}
}

// has tells whether there is a connection to an instance.
func (s *drivers) has(d *driver) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.connected
}

// pause returns false if ctx ends before.
func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// follow takes what an instance tells until the stream ends, and says whether that was
// anything.
func (s *drivers) follow(ctx context.Context, d *driver) (told bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := healthapi.NewDRAResourceHealthClient(d.conn).NodeWatchResources(ctx, &healthapi.NodeWatchResourcesRequest{})
	if err != nil {
		return false, err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return told, err
		}
		told = true
		s.tell(d, message.GetDevices())
	}
}

// tell takes a message of an instance; without devices, it looks whose time is over.
func (s *drivers) tell(d *driver, devices []*healthapi.DeviceHealth) {
	now := time.Now()
	s.mu.Lock()
	next, changed := d.states.with(devices, now)
	s.replace(d, next, now)
	s.mu.Unlock()
	s.told(d, changed)
}

// silence forgets what an instance has told.
func (s *drivers) silence(d *driver) {
	s.mu.Lock()
	changed := slices.Collect(maps.Keys(d.states))
	s.replace(d, nil, time.Time{})
	s.mu.Unlock()
	s.told(d, changed)
}

// replace keeps how the devices of an instance are, and has that looked at again when
// the first state ends. s.mu is held.
func (s *drivers) replace(d *driver, next states, now time.Time) {
	if d.expiry != nil {
		d.expiry.Stop()
		d.expiry = nil
	}
	d.states = next
	if end := next.end(); !end.IsZero() {
		d.expiry = time.AfterFunc(end.Sub(now), func() { s.tell(d, nil) })
	}
}

// told has the users of devices told that these are otherwise than before.
func (s *drivers) told(d *driver, changed []place) {
	if len(changed) > 0 {
		s.differ(d.plugin.Name, changed)
	}
}
