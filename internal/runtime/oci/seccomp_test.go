package oci

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestDefaultSeccomp(t *testing.T) {
	allowed := func(caps ...string) []string {
		profile := defaultSeccomp(&specs.LinuxCapabilities{Bounding: caps})
		if profile.DefaultAction != specs.ActErrno {
			t.Errorf("what is not listed gets %s", profile.DefaultAction)
		}
		var out []string
		for _, rule := range profile.Syscalls {
			if rule.Action == specs.ActAllow && len(rule.Args) == 0 {
				out = append(out, rule.Names...)
			}
		}
		return out
	}
	none, admin := allowed(), allowed("CAP_SYS_ADMIN")
	for _, name := range []string{"read", "execve", "futex", "adjtimex"} {
		if !slices.Contains(none, name) {
			t.Errorf("%s is refused", name)
		}
	}
	for _, name := range []string{"mount", "bpf", "unshare", "clone3"} {
		if slices.Contains(none, name) || !slices.Contains(admin, name) {
			t.Errorf("%s does not depend on CAP_SYS_ADMIN", name)
		}
	}
	for _, name := range []string{"kexec_load", "keyctl", "io_uring_setup", "personality", "init_module"} {
		if slices.Contains(none, name) || slices.Contains(admin, name) {
			t.Errorf("%s is allowed", name)
		}
	}
}

const denyChmod = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}`

func TestLocalhostSeccomp(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "seccomp")
	write := func(path, data string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "profiles/a.json"), denyChmod, 0o644)
	write(filepath.Join(dir, "bad.json"), `{`, 0o644)
	write(filepath.Join(dir, "empty.json"), `{}`, 0o644)
	write(filepath.Join(dir, "open.json"), denyChmod, 0o666)
	write(filepath.Join(dir, "huge.json"), string(bytes.Repeat([]byte(" "), maxSeccompProfile))+denyChmod, 0o644)
	write(filepath.Join(parent, "outside.json"), denyChmod, 0o644)
	for link, to := range map[string]string{"in": "profiles/a.json", "out": "../outside.json", "abs": filepath.Join(parent, "outside.json")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"profiles/a.json", filepath.Join(dir, "profiles/a.json"), "in", "profiles/../profiles/a.json"} {
		got, err := localhostSeccomp(dir, ref)
		if os.Geteuid() == 0 && (err != nil || len(got.Syscalls) != 1) {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{
		"", ".", "profiles", "bad.json", "empty.json", "open.json", "huge.json", "out", "abs", "pipe", "missing.json",
		"../outside.json", filepath.Join(parent, "outside.json"), dir, dir + "/../outside.json", "/etc/passwd",
	} {
		if got, err := localhostSeccomp(dir, ref); err == nil {
			t.Errorf("%q: %v, want an error", ref, got)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(filepath.Join(dir, "profiles/a.json"), 1000, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := localhostSeccomp(dir, "profiles/a.json"); err == nil {
		t.Error("a profile that is another user's was read")
	}
}

func FuzzParseSeccomp(f *testing.F) {
	f.Add([]byte(denyChmod))
	f.Add([]byte(`{"defaultAction": 1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := parseSeccomp(data); err == nil && got.DefaultAction == "" {
			t.Errorf("parseSeccomp(%q) has no default", data)
		}
	})
}

// A profile counts from the node's directory, not from the machine's root, where another Pod may have written it.
func TestLocalhostSeccompInAContainer(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.Runtime.cfg.SeccompDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Runtime.cfg.SeccompDir, "p.json"), []byte(denyChmod), 0o600); err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(written, []byte(`{"defaultAction": "SCMP_ACT_ALLOW"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	sb := n.pod(sandboxConfig("localhost"))
	withProfile := func(ref string) *runtimeapi.ContainerConfig {
		cfg := containerConfig("sleep", "1h")
		cfg.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
		return cfg
	}
	id := n.run(sb, withProfile("p.json"))
	if _, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "mkdir", "/tmp/x"}, deadline); exitCode(err) != 99 {
		t.Errorf("the profile does not hold: %v", err)
	}
	for _, ref := range []string{written, strings.TrimPrefix(written, "/"), "../../../../../" + written, "none.json"} {
		if _, err := n.CreateContainer(t.Context(), sb, withProfile(ref), nil); err == nil || !strings.Contains(err.Error(), "seccomp profile") {
			t.Errorf("profile %s: %v", ref, err)
		}
	}
}
