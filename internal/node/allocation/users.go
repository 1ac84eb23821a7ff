package allocation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
)

// UsersPerPod is how many users a Pod with hostUsers: false has, and as many
// groups: the kubelet's userNamespaces.idsPerPod.
const UsersPerPod = 65536

// UserRange is what a node may give its Pods of the machine's users: UsersPerPod
// for each of Pods, from First on.
type UserRange struct {
	First uint32
	Pods  int64
}

// Users returns the first of the UsersPerPod users that the Pod has to itself. The
// first call for a Pod chooses the first ones within the ranges that no other Pod of the node
// has; they are the Pod's until Remove. The Pod must have a record.
func (s *Store) Users(uid types.UID, within []UserRange) (first uint32, err error) {
	s.choosing.Lock()
	defer s.choosing.Unlock()
	s.mu.Lock()
	r, known := s.records[uid]
	taken := map[uint32]bool{}
	for _, other := range s.records {
		taken[other.Users] = true
	}
	s.mu.Unlock()
	if !known {
		return 0, fmt.Errorf("pod %s was granted nothing, so it has no users", uid)
	}
	if r.Users != 0 {
		return r.Users, nil
	}
	var pods int64
	for _, part := range within {
		pods += part.Pods
		for i := range part.Pods {
			first := int64(part.First) + i*UsersPerPod
			if first <= 0 || first+UsersPerPod-1 > 1<<32-2 { // the kernel's "nobody" has the last number
				break
			}
			if taken[uint32(first)] {
				continue
			}
			return uint32(first), s.amend(uid, func(r *Record) { r.Users = uint32(first) })
		}
	}
	return 0, fmt.Errorf("no users are left for pod %s: %d pods of the node have a user namespace", uid, pods)
}
