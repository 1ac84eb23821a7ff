package images

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// upstreamModule is the module, from the repository's root, that Kubernetes' own
// programs are built in.
const upstreamModule = "test/conformance/upstream"

// suiteRegistry is where the images of the end-to-end suite come from.
const suiteRegistry = "registry.k8s.io/e2e-test-images/"

// Upstream lists stand-ins for images that specs of Kubernetes' end-to-end suite
// run. The programs are Kubernetes' own, built from its sources; what the real
// images have besides (Alpine's tools, nginx, a shell) comes from Debian's
// packages. Names and versions are those that the suite of the release in
// go.mod asks for.
func Upstream() []Recipe {
	coreDNS := &layer{name: "agnhost-coredns", on: toolsLayer, module: "bench/dns/coredns", program: "minato/bench/dns/coredns"}
	registry := &layer{name: "agnhost-registry", on: coreDNS, program: "minato/test/images/pause", finish: finishFakeRegistry}
	agnhost := &layer{
		name: "agnhost", on: registry, module: upstreamModule, program: "k8s.io/kubernetes/test/images/agnhost",
		packages: []string{"busybox-static", "util-linux"}, finish: finishAgnhost,
	}
	shell := &layer{name: "busybox-shell", on: baseLayer, packages: []string{"busybox-static"}, program: "minato/test/images/shell", finish: finishShell}
	etcd := &layer{name: "etcd", module: upstreamModule, program: "go.etcd.io/etcd/server/v3", finish: finishEtcd}
	sampleAPI := &layer{name: "sample-apiserver", module: upstreamModule, program: "k8s.io/sample-apiserver"}
	leakyTCP := &layer{name: "regression-issue-74839", module: upstreamModule, program: "k8s.io/kubernetes/test/images/regression-issue-74839"}
	cpuConsumer := &layer{
		name: "consume-cpu", on: baseLayer, packages: []string{"stress"}, module: upstreamModule,
		program: "k8s.io/kubernetes/test/images/resource-consumer/consume-cpu", finish: finishConsumeCPU,
	}
	consumer := &layer{
		name: "resource-consumer", on: cpuConsumer, module: upstreamModule,
		program: "k8s.io/kubernetes/test/images/resource-consumer", finish: finishConsumer,
	}
	noNewPrivs := &layer{name: "nonewprivs", on: baseLayer, module: upstreamModule, program: "k8s.io/kubernetes/test/images/nonewprivs", finish: finishNoNewPrivs}
	agnhostConfig := v1.Config{
		Env: []string{debianPath}, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "5000/tcp": {}, "8080/tcp": {}, "8081/tcp": {}, "9376/tcp": {}},
	}
	out := []Recipe{
		{Name: "e2e-agnhost", Tags: []string{suiteRegistry + "agnhost:2.63.0", suiteRegistry + "agnhost:2.55"}, layer: agnhost, Config: agnhostConfig},
		{Name: "e2e-busybox", Tags: []string{suiteRegistry + "busybox:1.37.0-1", suiteRegistry + "busybox:1.36.1-1"}, layer: shell, Config: v1.Config{
			Env: []string{debianPath}, Cmd: []string{"sh"},
		}},
		{Name: "e2e-dns-tools", Tags: []string{suiteRegistry + "glibc-dns-testing:2.0.0"}, layer: toolsLayer, Config: v1.Config{
			Env: []string{debianPath}, Cmd: []string{"bash"},
		}},
		{Name: "e2e-etcd", Tags: []string{"registry.k8s.io/etcd:3.6.8-0"}, layer: etcd, Config: v1.Config{Env: []string{debianPath}}},
		{Name: "e2e-nginx", Tags: []string{suiteRegistry + "nginx:1.15-4", suiteRegistry + "nginx:1.27-0"}, layer: nginxLayer, Config: nginxConfig()},
		{Name: "e2e-nonewprivs", Tags: []string{suiteRegistry + "nonewprivs:1.4"}, layer: noNewPrivs, Config: v1.Config{
			Env: []string{debianPath}, Cmd: []string{"/nnp"},
		}},
		{Name: "e2e-nonroot", Tags: []string{suiteRegistry + "nonroot:1.5"}, layer: shell, Config: v1.Config{
			Env: []string{debianPath}, Cmd: []string{"sh"}, User: "1234",
		}},
		{Name: "e2e-regression-issue-74839", Tags: []string{suiteRegistry + "regression-issue-74839:1.4"}, layer: leakyTCP, Config: v1.Config{
			Env: []string{debianPath}, Entrypoint: []string{"/regression-issue-74839"},
		}},
		{Name: "e2e-resource-consumer", Tags: []string{suiteRegistry + "resource-consumer:1.14"}, layer: consumer, Config: v1.Config{
			Env: []string{debianPath}, Entrypoint: []string{"/consumer"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		}},
		{Name: "e2e-sample-apiserver", Tags: []string{suiteRegistry + "sample-apiserver:1.29.2"}, layer: sampleAPI, Config: v1.Config{
			Env: []string{debianPath}, Entrypoint: []string{"/sample-apiserver"},
		}},
		pauseRecipe(),
		{Name: "e2e-device-plugin", Tags: []string{suiteRegistry + "sample-device-plugin:1.7"}, layer: devicePluginLayer, Config: v1.Config{
			Env: []string{"PATH=/"}, Entrypoint: []string{"/sample-device-plugin"},
		}},
		hostpathPlugin(),
	}
	for _, animal := range []string{"kitten", "nautilus"} {
		out = append(out, Recipe{
			Name: "e2e-" + animal, Tags: []string{suiteRegistry + animal + ":1.8"},
			layer:  &layer{name: animal, on: agnhost, finish: finishAnimal(animal)},
			Config: v1.Config{Env: []string{debianPath}, Entrypoint: []string{"/agnhost"}, Cmd: []string{"test-webserver"}},
		})
	}
	return out
}

// ValidationShell is the archive of the image with a shell and with the tools that
// specs of the CRI's validation suite run.
const ValidationShell = "cri-busybox"

// Validation lists stand-ins for images of the CRI's validation suite; test/critest
// makes more of them, with other users and files.
func Validation() []Recipe {
	shell := &layer{name: ValidationShell, on: baseLayer, packages: []string{"busybox-static", "util-linux"}, finish: finishValidationShell}
	out := []Recipe{{Name: ValidationShell, Tags: []string{"minato.local/cri-busybox:latest"}, layer: shell, Config: v1.Config{
		Env: []string{debianPath}, Cmd: []string{"sh"},
	}}}
	for _, r := range Upstream() {
		switch r.Name {
		case "e2e-nginx", "e2e-nonewprivs", "pause":
			out = append(out, r)
		}
	}
	return out
}

func finishAgnhost(k *kitchen, t *tree) error {
	source, err := k.kubernetes()
	if err != nil {
		return err
	}
	for _, name := range []string{"localhost.crt", "localhost.key"} {
		data, err := os.ReadFile(filepath.Join(source, "test/images/agnhost/porter", name))
		if err != nil {
			return err
		}
		t.file(name, 0o644, data)
	}
	t.link("agnhost-2", "agnhost")
	t.dir("uploads", 0o755)
	for _, applet := range []string{"killall", "ping6", "traceroute", "vi"} {
		t.link("usr/bin/"+applet, "busybox")
	}
	// Users that a spec about supplemental groups wants to find.
	for name, lines := range map[string]string{
		"etc/passwd": "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n",
		"etc/group":  "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
	} {
		data, err := files.ReadFile("files/base/" + name)
		if err != nil {
			return err
		}
		t.file(name, 0o644, slices.Concat(data, []byte(lines)))
	}
	if err := k.copyFiles(t, "agnhost"); err != nil {
		return err
	}
	t.entries["usr/bin/wget"].header.Mode = 0o755
	return nil
}

// finishShell makes a busybox whose programs are where the real image has them, with
// a shell that hands on all of the environment.
func finishShell(k *kitchen, t *tree) error {
	if err := linkApplets(k, t); err != nil {
		return err
	}
	return t.move("shell", "usr/bin/sh")
}

// finishValidationShell makes the same with busybox's own shell: specs stop containers
// as soon as they are started, and a signal that comes before the program is there
// to receive it is lost.
func finishValidationShell(k *kitchen, t *tree) error {
	t.link("usr/bin/sh", "busybox")
	return linkApplets(k, t)
}

func linkApplets(k *kitchen, t *tree) error {
	program, err := t.content("bin/busybox")
	if err != nil {
		return err
	}
	applets, err := k.applets(program)
	if err != nil {
		return err
	}
	for _, applet := range applets {
		if applet != "sh" && applet != "ash" && applet != "busybox" {
			t.link("usr/bin/"+applet, "busybox")
		}
	}
	return nil
}

// finishEtcd puts the program, which has the name of its package's version, where specs start it.
func finishEtcd(_ *kitchen, t *tree) error { return t.move("v3", "usr/local/bin/etcd") }

// finishConsumeCPU puts the program where the one that starts it looks for it.
func finishConsumeCPU(_ *kitchen, t *tree) error {
	return t.move("consume-cpu", "consume-cpu/consume-cpu")
}

func finishConsumer(_ *kitchen, t *tree) error { return t.move("resource-consumer", "consumer") }

// finishNoNewPrivs makes the program one that would gain root's rights.
func finishNoNewPrivs(_ *kitchen, t *tree) error {
	program, err := t.content("nonewprivs")
	if err != nil {
		return err
	}
	delete(t.entries, "nonewprivs")
	t.file("nnp", 0o6755, program)
	return nil
}

func finishAnimal(name string) func(*kitchen, *tree) error {
	return func(k *kitchen, t *tree) error {
		source, err := k.kubernetes()
		if err != nil {
			return err
		}
		for _, file := range []string{name + ".jpg", "data.json"} {
			data, err := os.ReadFile(filepath.Join(source, "test/images", name, "html", file))
			if err != nil {
				return err
			}
			t.file(file, 0o644, data)
		}
		// A spec wants to read here what the real image is based on.
		t.file("etc/os-release", 0o644, []byte("PRETTY_NAME=\"Debian, in place of Alpine Linux\"\n"))
		return nil
	}
}

// kubernetes is the directory of Kubernetes' sources.
func (k *kitchen) kubernetes() (string, error) {
	dir, err := moduleDir(k.ctx, "k8s.io/kubernetes")
	if err != nil {
		return "", fmt.Errorf("find Kubernetes' sources: %w", err)
	}
	return dir, nil
}
