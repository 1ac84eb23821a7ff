package foreign

import (
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Connection says how the API server is reached.
type Connection struct {
	// Kubeconfig is the file to connect with; empty means the Pod's service account. Master, if not empty, is the API
	// server's address in place of the one that either gives.
	Kubeconfig, Master string
}

// AddFlags binds the connection to flags.
func (c *Connection) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&c.Kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; without it, the Pod's service account")
	f.StringVar(&c.Master, "master", "", "address of the API server in place of the one found, which in a Pod is a Service")
}

// Config makes a client configuration for Kubernetes' own kinds. The component is how the process calls itself; what it does
// in the cluster is for the error of a process that is told nothing, such as "the cluster whose Services are served".
func (c *Connection) Config(component, cluster string) (*rest.Config, error) {
	var out *rest.Config
	var err error
	if c.Kubeconfig == "" {
		if out, err = rest.InClusterConfig(); err != nil {
			return nil, fmt.Errorf("outside of a Pod, --kubeconfig has to name %s: %w", cluster, err)
		}
		if c.Master != "" {
			out.Host = c.Master
		}
	} else if out, err = clientcmd.BuildConfigFromFlags(c.Master, c.Kubeconfig); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", c.Kubeconfig, err)
	}
	out.UserAgent = component
	out.ContentType = kruntime.ContentTypeProtobuf
	out.AcceptContentTypes = kruntime.ContentTypeProtobuf + "," + kruntime.ContentTypeJSON
	return out, nil
}

// Clients are those of a process that writes to the API, of which one at a time does more.
type Clients struct {
	// Client waits for an API server that can't be reached, as do others that are made with Config. Electing does not.
	Client, Electing kubernetes.Interface
	Config           *rest.Config
}

// Clients makes clients with what Config returns. How much is written at once is bounded where it is written.
func (c *Connection) Clients(component, cluster string, log *slog.Logger) (out Clients, err error) {
	if out.Config, err = c.Config(component, cluster); err != nil {
		return Clients{}, err
	}
	out.Config.QPS = -1
	if out.Electing, err = kubernetes.NewForConfig(out.Config); err != nil {
		return Clients{}, fmt.Errorf("connect to the API server: %w", err)
	}
	out.Config.Wrap(Patient(log))
	if out.Client, err = kubernetes.NewForConfig(out.Config); err != nil {
		return Clients{}, fmt.Errorf("connect to the API server: %w", err)
	}
	return out, nil
}
