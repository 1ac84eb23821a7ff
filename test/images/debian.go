package images

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// debian reads the distribution's package lists and fetches packages from it.
type debian struct {
	cache string // directory of .deb files named after their SHA-256
	log   io.Writer
	known map[string]*deb
	// updated says that the lists were fetched in this run.
	updated bool
}

// deb is one package at the version that apt would take.
type deb struct {
	name, version, sha256 string
	depends               [][]string // each: alternatives, first the preferred
	provides              [][]string // virtual packages
}

// left out of every image: they are needed by maintainer scripts only, and those do not run.
var forScriptsOnly = []string{
	"adduser", "debconf", "debconf-2.0", "dpkg", "init-system-helpers", "lsb-base", "openssl", "passwd", "perl", "perl-base",
	"sysvinit-utils", "libcap2-bin", "login",
}

// closure returns the packages with everything they depend on, sorted by name.
func (d *debian) closure(ctx context.Context, names []string) ([]*deb, error) {
	chosen := map[string]*deb{}
	todo := slices.Clone(names)
	for len(todo) > 0 {
		if err := d.read(ctx, todo); err != nil {
			return nil, err
		}
		var next [][]string
		for _, name := range todo {
			p := d.known[name]
			if p == nil {
				return nil, fmt.Errorf("package %s is not in apt's lists; check that main of this Debian is among the sources", name)
			}
			chosen[name] = p
			next = append(next, p.depends...)
		}
		var err error
		if todo, err = d.choose(ctx, next, chosen); err != nil {
			return nil, err
		}
	}
	out := make([]*deb, 0, len(chosen))
	for _, p := range chosen {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *deb) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// choose picks from each list of alternatives the first there is, unless one is chosen already.
func (d *debian) choose(ctx context.Context, wanted [][]string, chosen map[string]*deb) ([]string, error) {
	var names []string
	for _, alternatives := range wanted {
		names = append(names, alternatives...)
	}
	if err := d.read(ctx, names); err != nil {
		return nil, err
	}
	provided := map[string]bool{}
	for _, p := range chosen {
		for _, v := range p.provides {
			provided[v[0]] = true
		}
	}
	var out []string
	for _, alternatives := range wanted {
		satisfied := slices.ContainsFunc(alternatives, func(n string) bool {
			return chosen[n] != nil || slices.Contains(out, n) || slices.Contains(forScriptsOnly, n) || provided[n]
		})
		if satisfied {
			continue
		}
		i := slices.IndexFunc(alternatives, func(n string) bool { return d.known[n] != nil })
		if i < 0 {
			return nil, fmt.Errorf("none of the packages %s is in apt's lists", strings.Join(alternatives, ", "))
		}
		out = append(out, alternatives[i])
	}
	return out, nil
}

// read looks packages up; one that does not exist is remembered as nil.
func (d *debian) read(ctx context.Context, names []string) error {
	var ask []string
	for _, n := range names {
		if _, seen := d.known[n]; !seen && !slices.Contains(ask, n) && !slices.Contains(forScriptsOnly, n) {
			ask = append(ask, n)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	if err := d.ensureLists(ctx); err != nil {
		return err
	}
	for _, n := range ask {
		d.known[n] = nil
	}
	// It fails when a name is only a virtual package; what matters is what it prints.
	out, err := command(ctx, "", "apt-cache", append([]string{"show", "--no-all-versions"}, ask...)...)
	if len(out) == 0 && err != nil && !isExit(err) {
		return err
	}
	for _, p := range parsePackages(out) {
		if old, asked := d.known[p.name]; asked && old == nil {
			d.known[p.name] = p
		}
	}
	return nil
}

// parsePackages reads what apt-cache show prints.
func parsePackages(text []byte) []*deb {
	var out []*deb
	p := &deb{}
	flush := func() {
		if p.name != "" {
			out = append(out, p)
		}
		p = &deb{}
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if lines.Text() == "" {
			flush()
			continue
		}
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "Package":
			p.name = value
		case "Version":
			p.version = value
		case "SHA256":
			p.sha256 = value
		case "Provides":
			p.provides = parseDepends(value)
		case "Depends", "Pre-Depends":
			p.depends = append(p.depends, parseDepends(value)...)
		}
	}
	flush()
	return out
}

// parseDepends drops versions and architectures: apt's lists are one consistent release.
func parseDepends(value string) [][]string {
	var out [][]string
	for _, group := range strings.Split(value, ",") {
		var names []string
		for _, alternative := range strings.Split(group, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
			name, _, _ = strings.Cut(name, ":")
			if name != "" {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			out = append(out, names)
		}
	}
	return out
}

// ensureLists fetches apt's lists when there are none.
func (d *debian) ensureLists(ctx context.Context) error {
	found, err := filepath.Glob("/var/lib/apt/lists/*_Packages*")
	if err != nil || len(found) > 0 {
		return err
	}
	return d.update(ctx)
}

func (d *debian) update(ctx context.Context) error {
	fmt.Fprintln(d.log, "apt-get update")
	if _, err := command(ctx, "", "apt-get", "-q", "update"); err != nil {
		return fmt.Errorf("fetch apt's package lists (as root, with a Debian mirror in reach): %w", err)
	}
	d.updated = true
	d.known = map[string]*deb{}
	return nil
}

func (d *debian) path(p *deb) string { return filepath.Join(d.cache, p.sha256+".deb") }

var errStale = errors.New("apt's lists name packages that are no longer there")

// fetch makes sure that the packages are in the cache.
func (d *debian) fetch(ctx context.Context, packages []*deb) error {
	var args []string
	missing := map[string]*deb{}
	for _, p := range packages {
		if _, err := os.Stat(d.path(p)); errors.Is(err, os.ErrNotExist) && missing[p.sha256] == nil {
			missing[p.sha256] = p
			args = append(args, p.name+"="+p.version)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintf(d.log, "fetch %d packages\n", len(missing))
	incoming := filepath.Join(d.cache, "incoming")
	if err := errors.Join(os.RemoveAll(incoming), os.MkdirAll(incoming, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(incoming)
	options := []string{"-q", "-o", "APT::Sandbox::User=root", "download"}
	if _, err := command(ctx, incoming, "apt-get", append(options, args...)...); err != nil {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	files, err := filepath.Glob(filepath.Join(incoming, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		sum, err := sha256File(f)
		if err != nil {
			return err
		}
		if p := missing[sum]; p != nil {
			if err := os.Rename(f, d.path(p)); err != nil {
				return err
			}
			delete(missing, sum)
		}
	}
	for _, p := range missing {
		return fmt.Errorf("%w: %s %s was fetched but is not what the lists say", errStale, p.name, p.version)
	}
	return nil
}

// unpackAll makes a tree of the packages, a few at a time: most of the work is
// in the packages' own compression.
func (d *debian) unpackAll(ctx context.Context, packages []*deb) (*tree, error) {
	parts := make([]*tree, len(packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, p := range packages {
		parts[i] = newTree()
		g.Go(func() error { return d.unpack(ctx, p, parts[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := newTree()
	for _, part := range parts { // in order, so that the result is always the same
		for name, e := range part.entries {
			all.entries[name] = e
		}
	}
	return all, nil
}

// unpack adds a package's files to a tree.
func (d *debian) unpack(ctx context.Context, p *deb, t *tree) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", d.path(p))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = t.addTar(out)
	if _, drainErr := io.Copy(io.Discard, out); err == nil {
		err = drainErr
	}
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("%w: %s", waitErr, bytes.TrimSpace(stderr.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("unpack package %s: %w", p.name, err)
	}
	return nil
}

func sha256File(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// command runs a program without input and returns what it prints; its messages
// are part of the error.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args[:min(len(args), 3)], " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

func isExit(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}
