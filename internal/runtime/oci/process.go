package oci

import (
	"errors"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (b *specBuilder) process() (*specs.Process, error) {
	args, err := b.args()
	if err != nil {
		return nil, err
	}
	user, home, err := b.user()
	if err != nil {
		return nil, err
	}
	cwd := b.config().GetWorkingDir()
	if cwd == "" {
		cwd = b.img.Config.Config.WorkingDir
	}
	if !strings.HasPrefix(cwd, "/") {
		cwd = "/" + cwd
	}
	caps, err := b.caps.forContainer(b.security())
	if err != nil {
		return nil, err
	}
	rlimits, err := b.caps.rlimits()
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        b.config().GetTty(),
		User:            user,
		Args:            args,
		Env:             b.env(home),
		Cwd:             cwd,
		Capabilities:    caps,
		Rlimits:         rlimits,
		NoNewPrivileges: b.security().GetNoNewPrivs(),
	}
	if res := b.config().GetLinux().GetResources(); res != nil {
		adj := b.caps.oomScoreAdj(int(res.GetOomScoreAdj()))
		p.OOMScoreAdj = &adj
	}
	if aa := b.security().GetApparmor(); aa.GetProfileType() == runtimeapi.SecurityProfile_Localhost {
		p.ApparmorProfile = aa.GetLocalhostRef() // loaded on the node, see checkAppArmor
	}
	return p, nil
}

// args are the pod's command, else the image's entry point; and the pod's
// arguments, else the image's, unless the pod has a command.
func (b *specBuilder) args() ([]string, error) {
	command, args := b.config().GetCommand(), b.config().GetArgs()
	if len(command) == 0 {
		command = b.img.Config.Config.Entrypoint
		if len(args) == 0 {
			args = b.img.Config.Config.Cmd
		}
	}
	all := append(append([]string{}, command...), args...)
	if len(all) == 0 {
		return nil, errors.New("neither the pod nor the image says which command to run")
	}
	return all, nil
}

// env is the image's environment with the pod's over it. HOME and PATH are
// what programs expect to find.
func (b *specBuilder) env(home string) []string {
	var env environment
	env.set("PATH", defaultPath)
	env.set("HOSTNAME", b.hostname())
	if b.config().GetTty() {
		env.set("TERM", "xterm")
	}
	for _, kv := range b.img.Config.Config.Env {
		key, value, _ := strings.Cut(kv, "=")
		env.set(key, value)
	}
	for _, kv := range b.config().GetEnvs() {
		env.set(kv.GetKey(), string(kv.GetValue()))
	}
	if _, ok := env.index["HOME"]; !ok {
		env.set("HOME", home)
	}
	return env.list
}

func (b *specBuilder) hostname() string {
	if name := b.sb.state.Config.GetHostname(); name != "" && !b.sb.hostNetwork() {
		return name
	}
	return b.r.cfg.Hostname
}

// environment keeps the order in which variables were first set.
type environment struct {
	list  []string
	index map[string]int
}

func (e *environment) set(key, value string) {
	if key == "" {
		return
	}
	if i, ok := e.index[key]; ok {
		e.list[i] = key + "=" + value
		return
	}
	if e.index == nil {
		e.index = map[string]int{}
	}
	e.index[key] = len(e.list)
	e.list = append(e.list, key+"="+value)
}

// user resolves names in the image's own files.
func (b *specBuilder) user() (specs.User, string, error) {
	sc := b.security()
	asked := b.img.Config.Config.User
	switch {
	case sc.GetRunAsUser() != nil:
		asked = fmt.Sprint(sc.GetRunAsUser().GetValue())
	case sc.GetRunAsUsername() != "":
		asked = sc.GetRunAsUsername()
	}
	if gid := sc.GetRunAsGroup(); gid != nil {
		name, _, _ := strings.Cut(asked, ":")
		asked = fmt.Sprintf("%s:%d", name, gid.GetValue())
	}
	db, err := readUserDatabase(b.c.rootfs())
	if err != nil {
		return specs.User{}, "", err
	}
	found, err := db.resolve(asked)
	if err != nil {
		return specs.User{}, "", fmt.Errorf("user of the container: %w", err)
	}
	groups, err := mergeGroups(found, sc.GetSupplementalGroups(), sc.GetSupplementalGroupsPolicy())
	if err != nil {
		return specs.User{}, "", err
	}
	u := specs.User{UID: found.uid, GID: found.gid, AdditionalGids: groups}
	return u, found.home, checkMapped(b.sb.users(), u)
}
