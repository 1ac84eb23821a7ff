package admit

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/sysctl"
)

// Sysctls is which sysctls Pods may set: kubelet's list.
type Sysctls struct{ list lifecycle.PodAdmitHandler }

// NewSysctls allows those that are safe and those that the operator allows
// though they are not, each a name or, with a * at its end, a prefix. One that
// is not known to be a Pod's own, as most are not, gives an error.
func NewSysctls(safe, unsafe []string) (*Sysctls, error) {
	all := append(append([]string(nil), safe...), unsafe...)
	list, err := sysctl.NewAllowlist(all)
	if err != nil {
		return nil, err
	}
	return &Sysctls{list: list}, nil
}

func (s *Sysctls) check(pod *v1.Pod) *Refusal {
	if r := s.list.Admit(&lifecycle.PodAdmitAttributes{Pod: pod}); !r.Admit {
		return &Refusal{Reason: r.Reason, Message: r.Message}
	}
	return nil
}
