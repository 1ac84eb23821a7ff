package apiserver

import (
	"fmt"

	"k8s.io/apiserver/pkg/registry/rest"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/probe"
	"k8s.io/kubernetes/pkg/registry/core/componentstatus"
)

// Checks asks parts of the control plane how they are, by the names that `kubectl
// get componentstatuses` shows.
type Checks map[string]func() error

// componentStatuses are the objects of that kind. Upstream's ask the scheduler and
// the controllers on ports of 127.0.0.1, where those of another cluster may answer.
func componentStatuses(checks Checks, stores *serverstorage.DefaultStorageFactory) rest.Storage {
	return componentstatus.NewStorage(func() map[string]componentstatus.Server {
		all := map[string]componentstatus.Server{}
		for name, check := range checks {
			all[name] = componentCheck(check)
		}
		for i, store := range stores.Configs() {
			all[fmt.Sprintf("etcd-%d", i)] = &componentstatus.EtcdServer{Config: store}
		}
		return all
	})
}

// componentCheck is a componentstatus.Server in this process.
type componentCheck func() error

// DoServerCheck implements componentstatus.Server.
func (c componentCheck) DoServerCheck() (probe.Result, string, error) {
	if err := c(); err != nil {
		return probe.Failure, "", err
	}
	return probe.Success, "ok", nil
}
