package mirror

import (
	v1 "k8s.io/api/core/v1"
)

// Taken tells whether a part of the cluster is shown by the Pod's name.
func (k *Keeper) Taken(pod *v1.Pod) bool {
	_, ok := k.parts[key(pod)]
	return ok
}

// Show has a static Pod shown. It has no status before the next SetStatus.
func (k *Keeper) Show(pod *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.statics[key(pod)] = static{pod: pod}
	k.Look()
}

// SetStatus tells the status of a static Pod that is shown.
func (k *Keeper) SetStatus(pod *v1.Pod, status v1.PodStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.statics[key(pod)]; ok && s.pod.UID == pod.UID {
		s.status = &status
		k.statics[key(pod)] = s
		k.Look()
	}
}

// Hide has a static Pod no longer shown.
func (k *Keeper) Hide(pod *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.statics[key(pod)]; ok && s.pod.UID == pod.UID {
		delete(k.statics, key(pod))
		k.Look()
	}
}

// Static returns the static Pod that a mirror Pod stands for.
func (k *Keeper) Static(mirror *v1.Pod) (*v1.Pod, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.statics[key(mirror)]
	return s.pod, ok && Is(mirror)
}
