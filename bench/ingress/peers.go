package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"text/template"
)

// The addresses of what answers.
const (
	backendAddress = "127.0.0.1:9000"
	grpcAddress    = "127.0.0.1:9001"
)

// The hosts that every proxy serves, and how many others are served where there are many: 10,000 routes.
const (
	webHost   = "web.bench.example"
	grpcHost  = "grpc.bench.example"
	manyHosts = 100
	manyPaths = 100
)

func hostOf(kind string) string { return kind + ".bench.example" }
func manyHost(i int) string     { return fmt.Sprintf("host-%03d.bench.example", i) }
func manyPath(i int) string     { return fmt.Sprintf("/service-%03d", i) }

// peer is a proxy that is measured.
type peer struct {
	name    string
	program string
	// files are templates for what it reads, by name; args are its arguments after the program.
	files map[string]string
	args  func(s *site) []string
}

// site is where one process of a peer serves, and what: it is what the templates see.
type site struct {
	Dir, HTTP, HTTPS   string
	Hosts, Paths       []string // none for the few hosts that each has
	Kinds              []string // of certificates; the first is for clients that name no host
	Web, GRPC          string
	Backend, GRPCs     string
	Certificates, Logs string
	Profile            string
}

func (s *site) Host(kind string) string { return hostOf(kind) }

// newSite makes the directory of a process, with its configuration.
func (p *peer) newSite(dir, certificates string, port int, many bool) (*site, error) {
	s := &site{
		Dir: dir, HTTP: fmt.Sprintf("127.0.0.1:%d", port), HTTPS: fmt.Sprintf("127.0.0.1:%d", port+1), Kinds: []string{"ecdsa", "rsa"},
		Web: webHost, GRPC: grpcHost, Backend: backendAddress, GRPCs: grpcAddress, Certificates: certificates,
	}
	if many {
		for i := range manyHosts {
			s.Hosts = append(s.Hosts, manyHost(i))
		}
		for i := range manyPaths {
			s.Paths = append(s.Paths, manyPath(i))
		}
	}
	return s, os.Mkdir(dir, 0o755)
}

// write fills the templates in.
func (p *peer) write(s *site) error {
	for name, text := range p.files {
		t, err := template.New(name).Parse(text)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, s); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.Dir, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// peers returns those that are there. What was asked for and isn't is an error only if the distribution has it.
func peers(o options) ([]*peer, []string, error) {
	all := []*peer{
		{name: "minato", program: "/proc/self/exe", args: func(s *site) []string {
			return []string{
				"proxy", "-http", s.HTTP, "-https", s.HTTPS, "-certificates", s.Certificates, "-hosts", fmt.Sprint(len(s.Hosts)),
				"-paths", fmt.Sprint(len(s.Paths)), "-access-log", s.Logs, "-profile", s.Profile,
			}
		}},
		{name: "nginx", program: "nginx", files: map[string]string{"nginx.conf": nginxConf}, args: func(s *site) []string {
			return []string{"-e", "stderr", "-p", s.Dir, "-c", filepath.Join(s.Dir, "nginx.conf")}
		}},
		{name: "haproxy", program: "haproxy", files: map[string]string{"haproxy.cfg": haproxyCfg, "routes.map": haproxyMap}, args: func(s *site) []string {
			return []string{"-db", "-f", filepath.Join(s.Dir, "haproxy.cfg")}
		}},
		{name: "traefik", program: o.traefik, files: map[string]string{"traefik.yml": traefikStatic, "routes.yml": traefikRoutes}, args: func(s *site) []string {
			return []string{"--configFile=" + filepath.Join(s.Dir, "traefik.yml")}
		}},
		{name: "caddy", program: o.caddy, files: map[string]string{"caddy.json": caddyJSON}, args: func(s *site) []string {
			return []string{"run", "--config", filepath.Join(s.Dir, "caddy.json")}
		}},
	}
	var here []*peer
	var missing []string
	for _, p := range all {
		if !o.wants(p.name) {
			continue
		}
		path, err := exec.LookPath(p.program)
		switch {
		case err == nil:
			if p.program, err = filepath.Abs(path); err != nil {
				return nil, nil, err
			}
			if p.name == "minato" {
				p.program = path // it stands for another file in each process
			}
			here = append(here, p)
		case p.program == o.traefik || p.program == o.caddy:
			missing = append(missing, p.name)
		default:
			return nil, nil, fmt.Errorf("%s is not installed: %w", p.name, err)
		}
	}
	return here, missing, nil
}

// version is what a program says of itself, or what it was built from.
func (p *peer) version() string {
	switch p.name {
	case "nginx", "haproxy":
		out, err := exec.Command(p.program, "-v").CombinedOutput()
		if err != nil {
			return err.Error()
		}
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return string(line)
	case "traefik", "caddy":
		info, err := buildinfo.ReadFile(p.program)
		if err != nil {
			return err.Error()
		}
		return info.Main.Version + ", " + info.GoVersion
	}
	return runtime.Version()
}
