package images

import (
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Recipe is one image.
type Recipe struct {
	// Name is the archive's, NAME.tar.
	Name string
	// Tags are the names that a Pod's spec may use.
	Tags   []string
	Config v1.Config
	layer  *layer
}

// layer is one layer of an image and, through on, all those below it.
type layer struct {
	name string
	on   *layer
	// packages are put into the layer with all that they need and that the
	// layers below do not have.
	packages []string
	// program is a package whose program the layer holds, of this repository or of
	// what the module in that directory needs, of it or elsewhere.
	program, module string
	// finish adds what no package holds.
	finish func(*kitchen, *tree) error
}

// Program is an image that has nothing but a Go program, which is built in a directory of another module.
func Program(name, tag, dir, pkg string) Recipe {
	return Recipe{
		Name: name, Tags: []string{tag}, layer: &layer{name: name, module: dir, program: pkg},
		Config: v1.Config{Env: []string{"PATH=/"}, Entrypoint: []string{"/" + path.Base(pkg)}, User: "65535:65535"},
	}
}

// stack lists the layers from the lowest.
func (l *layer) stack() []*layer {
	if l == nil {
		return nil
	}
	return append(l.on.stack(), l)
}

const debianPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// The layers that most images share.
var (
	baseLayer = &layer{name: "base", packages: []string{
		"base-files", "bash", "coreutils", "dash", "debianutils", "findutils", "grep", "gzip", "hostname",
		"libc-bin", "mawk", "netbase", "procps", "sed", "tar",
	}, finish: finishBase}
	webLayer     = &layer{name: "web", on: baseLayer, packages: []string{"ca-certificates", "curl", "iproute2", "iputils-ping"}, finish: finishWeb}
	toolsLayer   = &layer{name: "tools", on: webLayer, packages: []string{"bind9-dnsutils", "bind9-host", "netcat-openbsd"}, finish: finishTools}
	busyboxLayer = &layer{name: "busybox", packages: []string{"busybox-static"}, finish: finishBusybox}
	nginxLayer   = &layer{name: "nginx", on: webLayer, packages: []string{"nginx"}, finish: finishNginx}

	devicePluginLayer = &layer{name: "sample-device-plugin", program: "k8s.io/kubernetes/test/images/sample-device-plugin"}
)

func nginxConfig() v1.Config {
	return v1.Config{
		Env: []string{debianPath}, Cmd: []string{"nginx", "-g", "daemon off;"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT",
	}
}

// pauseRecipe is the image of the containers that hold a Pod's namespaces in other
// runtimes, and of Pods that do nothing.
func pauseRecipe() Recipe {
	return Recipe{
		Name: "pause", Tags: []string{"registry.k8s.io/pause:3.10.2"}, layer: &layer{name: "pause", program: "minato/test/images/pause"},
		Config: v1.Config{Env: []string{"PATH=/"}, Entrypoint: []string{"/pause"}, User: "65535:65535"},
	}
}

// Recipes lists all images.
func Recipes() []Recipe {
	web, tools := webLayer, toolsLayer
	redis := &layer{name: "redis", on: web, packages: []string{"redis-server", "redis-tools"}, finish: finishRedis}
	prometheus := &layer{name: "prometheus", on: baseLayer, packages: []string{"prometheus", "prometheus-node-exporter"}}
	whoami := &layer{name: "whoami", program: "minato/test/images/demo/whoami", finish: finishWhoami}
	minatoDNS := &layer{name: "minato-dns", program: "minato/cmd/minato-dns"}
	minato := &layer{name: "minato", program: "minato/cmd/minato"}
	draDriver := &layer{name: "dra-driver", program: "minato/test/dra/driver"}
	shell := v1.Config{Env: []string{debianPath}, Cmd: []string{"/bin/bash"}}
	adapter := Program("metrics-adapter", "minato.local/metrics-adapter:latest", "test/images/adapter", "sigs.k8s.io/custom-metrics-apiserver/test-adapter")
	return []Recipe{
		adapter,
		{Name: "nginx", Tags: []string{"nginx:1.12", "nginx:1.14.2", "nginx:1.16.1", "nginx:1.16.2", "nginx:latest", "gcr.io/google_samples/gb-frontend:v3"}, layer: nginxLayer, Config: nginxConfig()},
		{Name: "redis", Tags: []string{"redis:3.2", "redis:latest"}, layer: redis, Config: v1.Config{
			// Without a password redis answers the loopback only, unless told otherwise.
			Env: []string{debianPath}, Cmd: []string{"redis-server", "--protected-mode", "no"},
			ExposedPorts: map[string]struct{}{"6379/tcp": {}}, WorkingDir: "/data",
			Volumes: map[string]struct{}{"/data": {}},
		}},
		{Name: "centos6", Tags: []string{"centos:6"}, layer: tools, Config: shell},
		{Name: "centos7", Tags: []string{"centos:7", "centos:latest"}, layer: tools, Config: shell},
		{Name: "debian", Tags: []string{"debian:latest", "ubuntu:latest"}, layer: tools, Config: shell},
		{Name: "busybox", Tags: []string{"busybox:1.28", "busybox:latest", "alpine:latest"}, layer: busyboxLayer, Config: v1.Config{
			Env: []string{debianPath}, Cmd: []string{"sh"},
		}},
		{Name: "whoami", Tags: []string{"minato.local/whoami:latest"}, layer: whoami, Config: v1.Config{
			Env: []string{"PATH=/"}, Entrypoint: []string{"/whoami"},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}, "8080/udp": {}},
		}},
		// Both programs; a Pod says which.
		{Name: "prometheus", Tags: []string{"minato.local/prometheus:latest"}, layer: prometheus, Config: v1.Config{
			Env: []string{debianPath}, Cmd: []string{"prometheus"}, User: "65534:65534",
		}},
		Drivers()[0],
		pauseRecipe(),
		{Name: "device-plugin", Tags: []string{"registry.k8s.io/e2e-test-images/sample-device-plugin:1.8.0"}, layer: devicePluginLayer, Config: v1.Config{
			Env: []string{"PATH=/"}, Entrypoint: []string{"/sample-device-plugin"},
		}},
		{Name: "dra-driver", Tags: []string{"minato.local/dra-driver:latest"}, layer: draDriver, Config: v1.Config{
			Env: []string{"PATH=/"}, Entrypoint: []string{"/driver"},
		}},
		{Name: "minato-dns", Tags: []string{"minato.local/minato-dns:latest"}, layer: minatoDNS, Config: v1.Config{
			Env: []string{"PATH=/"}, Entrypoint: []string{"/minato-dns"},
			ExposedPorts: map[string]struct{}{"53/udp": {}, "53/tcp": {}},
		}},
		{Name: "minato", Tags: []string{"minato.local/minato:latest"}, layer: minato, Config: v1.Config{
			Env: []string{"PATH=/"}, Entrypoint: []string{"/minato"},
		}},
	}
}

// Select returns the recipes named, by archive or by tag; without names, all.
func Select(names ...string) ([]Recipe, error) {
	all := Recipes()
	if len(names) == 0 {
		return all, nil
	}
	var out []Recipe
	for _, name := range names {
		i := slices.IndexFunc(all, func(r Recipe) bool { return r.Name == name || slices.Contains(r.Tags, name) })
		if i < 0 {
			var known []string
			for _, r := range all {
				known = append(known, r.Name)
			}
			return nil, fmt.Errorf("there is no image %q; there are %s", name, strings.Join(known, ", "))
		}
		if !slices.ContainsFunc(out, func(r Recipe) bool { return r.Name == all[i].Name }) {
			out = append(out, all[i])
		}
	}
	return out, nil
}
