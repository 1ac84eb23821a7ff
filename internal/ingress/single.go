package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// single follows one Secret or ConfigMap by its name: nothing else of its kind is ever read.
type single struct {
	key    Key
	client kubernetes.Interface
	log    *slog.Logger
	// tell is called with the object as it is, nil if there is none, and when it can't be read.
	tell func(key Key, o object, err error)
	stop context.CancelFunc
}

// Pauses before an object that can't be read is asked for again, and how long a watch lasts.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = 10 * time.Second
	watchTime = 10 * time.Minute
)

// run follows the object until ctx ends.
func (s *single) run(ctx context.Context) {
	pause := firstLook
	for ctx.Err() == nil {
		version, err := s.look(ctx)
		if err == nil {
			pause = firstLook
			if err = s.watch(ctx, version); err == nil {
				continue
			}
		} else if ctx.Err() == nil {
			s.tell(s.key, nil, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, lastLook)
	}
}

func (s *single) options() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, s.key.Name).String()}
}

// look reads the object, and tells of it.
func (s *single) look(ctx context.Context) (version string, err error) {
	var found object
	if s.key.Kind == KindSecret {
		list, err := s.client.CoreV1().Secrets(s.key.Namespace).List(ctx, s.options())
		if err != nil {
			return "", fmt.Errorf("read %s: %w", s.key, err)
		}
		version = list.ResourceVersion
		for i := range list.Items {
			if list.Items[i].Name == s.key.Name { // a fake API may not know field selectors
				found = &list.Items[i]
			}
		}
	} else {
		list, err := s.client.CoreV1().ConfigMaps(s.key.Namespace).List(ctx, s.options())
		if err != nil {
			return "", fmt.Errorf("read %s: %w", s.key, err)
		}
		version = list.ResourceVersion
		for i := range list.Items {
			if list.Items[i].Name == s.key.Name {
				found = &list.Items[i]
			}
		}
	}
	s.tell(s.key, found, nil)
	return version, nil
}

// watch tells of changes until the watch ends. An error means that it is too early to read the object again.
func (s *single) watch(ctx context.Context, version string) error {
	o := s.options()
	o.ResourceVersion, o.AllowWatchBookmarks = version, true
	seconds := int64((watchTime + rand.N(watchTime)).Seconds())
	o.TimeoutSeconds = &seconds
	begin := time.Now()
	var w watch.Interface
	var err error
	if s.key.Kind == KindSecret {
		w, err = s.client.CoreV1().Secrets(s.key.Namespace).Watch(ctx, o)
	} else {
		w, err = s.client.CoreV1().ConfigMaps(s.key.Namespace).Watch(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.key, err)
	}
	defer w.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			if !ok {
				if time.Since(begin) < time.Second {
					return fmt.Errorf("watch %s: it ended at once", s.key)
				}
				return nil
			}
			err = s.event(e)
		}
	}
	return err
}

// event tells of a change.
func (s *single) event(e watch.Event) error {
	is, ok := e.Object.(object)
	switch {
	case e.Type == watch.Error:
		return fmt.Errorf("watch %s: %w", s.key, apierrors.FromObject(e.Object))
	case !ok || is.GetName() != s.key.Name:
	case e.Type == watch.Added || e.Type == watch.Modified:
		s.tell(s.key, is, nil)
	case e.Type == watch.Deleted:
		s.tell(s.key, nil, nil)
	}
	return nil
}
