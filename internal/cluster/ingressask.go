package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"minato/internal/ingress"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// IngressRoute is a path of a host, IngressQuestion a request and IngressAnswer
// where it goes and why. IngressReport says what of Ingresses is honoured.
type (
	IngressRoute    = ingress.Route
	IngressQuestion = ingress.Question
	IngressAnswer   = ingress.Answer
	IngressReport   = nginx.Report
)

// WriteIngressRoutes writes routes as a table.
func WriteIngressRoutes(out io.Writer, routes []IngressRoute) error {
	return ingress.WriteRoutes(out, routes)
}

// ParseIngressHeader adds a header that is written as curl takes it.
func ParseIngressHeader(q *IngressQuestion, text string) error {
	return ingress.ParseHeader(q.Header, text)
}

// ReadIngressRoutes asks the cluster's server for every route of a node's proxy.
func ReadIngressRoutes(ctx context.Context, name, node string) ([]IngressRoute, error) {
	var out []IngressRoute
	err := ask(ctx, name, "/ingress/routes", url.Values{"node": {node}}, &out)
	return out, err
}

// MatchIngress asks the cluster's server where a node's proxy sends a request.
func MatchIngress(ctx context.Context, name, node string, q IngressQuestion) (*IngressAnswer, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	out := new(IngressAnswer)
	err = ask(ctx, name, "/ingress/match", url.Values{"node": {node}, "question": {string(text)}}, out)
	return out, err
}

// FileIngressRoutes and FileMatchIngress answer from manifests, without a cluster.
func FileIngressRoutes(files []string) ([]IngressRoute, error) {
	p, err := filePicture(files)
	if err != nil {
		return nil, err
	}
	return p.Routes(), nil
}

// FileMatchIngress is MatchIngress for manifests.
func FileMatchIngress(files []string, q IngressQuestion) (*IngressAnswer, error) {
	p, err := filePicture(files)
	if err != nil {
		return nil, err
	}
	return p.Match(q)
}

func filePicture(files []string) (*ingress.Picture, error) {
	objects, err := readManifests(files)
	if err != nil {
		return nil, err
	}
	return ingress.NewPicture(ingress.WithOwnClasses(ingress.Changes(objects)), ingress.Facts{Options: ingress.DefaultOptions()})
}

// readManifests reads files, or standard input for "-".
func readManifests(files []string) ([]runtime.Object, error) {
	var all []runtime.Object
	for _, name := range files {
		var in io.ReadCloser = os.Stdin
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			in = f
		}
		objects, err := ingress.ReadManifests(in)
		if name != "-" {
			in.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, objects...)
	}
	return all, nil
}

// CheckIngressFiles says what of the Ingresses in manifests is honoured.
func CheckIngressFiles(files []string) (*IngressReport, error) {
	objects, err := readManifests(files)
	if err != nil {
		return nil, err
	}
	return nginx.Check(objects, nginx.CheckConfig{Flags: ingress.DefaultOptions().Flags, Class: table.DefaultClassConfig(), Partial: true})
}

// CheckIngresses says what of all Ingresses of a live cluster is honoured: that of
// a kubeconfig, or if that is empty the named one.
func CheckIngresses(ctx context.Context, name, kubeconfig string) (*IngressReport, error) {
	if kubeconfig == "" {
		if err := ValidateName(name); err != nil {
			return nil, err
		}
		kubeconfig = Paths{Name: name}.Kubeconfig()
		if _, err := os.Stat(kubeconfig); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no cluster %q; name one with --name, or give --kubeconfig", name)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	objects, err := ingress.ReadAll(ctx, client, ingress.DefaultOptions())
	if err != nil {
		return nil, err
	}
	return nginx.Check(objects, nginx.CheckConfig{Flags: ingress.DefaultOptions().Flags, Class: table.DefaultClassConfig()})
}

// answerIngress serves the requests about Ingresses.
func (s *Server) answerIngress(answer func(path string, read func(context.Context, url.Values) (any, error))) {
	picture := func(v url.Values) (*ingress.Picture, error) {
		m, err := s.nodeNamed(v.Get("node"))
		if err != nil {
			return nil, err
		}
		return m.IngressPicture()
	}
	answer("/ingress/routes", func(_ context.Context, v url.Values) (any, error) {
		p, err := picture(v)
		if err != nil {
			return nil, err
		}
		return p.Routes(), nil
	})
	answer("/ingress/match", func(_ context.Context, v url.Values) (any, error) {
		p, err := picture(v)
		if err != nil {
			return nil, err
		}
		var q IngressQuestion
		if err := json.Unmarshal([]byte(v.Get("question")), &q); err != nil {
			return nil, fmt.Errorf("question: %w", err)
		}
		return p.Match(q)
	})
}
