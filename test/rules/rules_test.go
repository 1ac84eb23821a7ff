// Package rules enforces the house rules of ARCHITECTURE.md on the source
// tree: who may import whom, purity, and what every package must have.
package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "minato"

// source is one Go file of the tree.
type source struct {
	path    string // from the root, with slashes
	pkg     string // import path of its directory
	test    bool
	file    *ast.File
	fset    *token.FileSet
	imports []string
}

func load(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	fset := token.NewFileSet()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if base := d.Name(); rel != "." && (strings.HasPrefix(base, ".") || rel == "build" || rel == "bin" || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(rel), pkg: module + "/" + filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(path, "_test.go"), file: f, fset: fset}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files below %s", len(all), root)
	}
	return all
}

// within tells whether import path p is pkg or below it.
func within(p, pkg string) bool { return p == pkg || strings.HasPrefix(p, pkg+"/") }

func withinAny(p string, pkgs ...string) bool {
	return slices.ContainsFunc(pkgs, func(pkg string) bool { return within(p, pkg) })
}

// features do not know each other: they meet through API objects.
var features = []string{
	"controlplane", "node", "runtime", "podnet", "service", "dns", "loadbalancer", "ingress", "claims",
}

// feature returns the feature that p belongs to, or "".
func feature(p string) string {
	for _, f := range features {
		if within(p, module+"/internal/"+f) {
			return f
		}
	}
	return ""
}

func TestFeaturesDoNotImportEachOther(t *testing.T) {
	for _, s := range load(t) {
		mine := feature(s.pkg)
		for _, p := range s.imports {
			theirs := feature(p)
			switch {
			case theirs == "" || theirs == mine || withinAny(p, pure...):
			case mine != "":
				t.Errorf("%s: %s imports %s; features meet through API objects", s.path, mine, theirs)
			case withinAny(s.pkg, module+"/internal/host"):
				t.Errorf("%s: host imports %s; imports run downward", s.path, p)
			case withinAny(s.pkg, module+"/cmd/minato") && !s.test:
				t.Errorf("%s: cmd imports %s; only member and cluster wire features", s.path, p)
			}
		}
	}
}

// Imports run downward: cmd, cluster, member and explain, features, host.
func TestImportsRunDownward(t *testing.T) {
	for _, s := range load(t) {
		for _, p := range s.imports {
			for _, upper := range []struct {
				room string
				by   []string // the rooms above it
			}{
				{"cluster", []string{"cluster"}},
				{"member", []string{"cluster", "member"}},
				{"explain", []string{"cluster", "explain"}},
			} {
				allowed := []string{module + "/cmd", module + "/test", module + "/bench"}
				for _, room := range upper.by {
					allowed = append(allowed, module+"/internal/"+room)
				}
				if within(p, module+"/internal/"+upper.room) && !withinAny(s.pkg, allowed...) {
					t.Errorf("%s imports %s; imports run downward", s.path, p)
				}
			}
			if within(s.pkg, module+"/internal/supervise") && within(p, module) && p != s.pkg {
				t.Errorf("%s imports %s; supervise knows nothing of what it runs", s.path, p)
			}
		}
	}
}

// A package that is run has New and Run: New starts nothing, Run blocks and owns
// what it starts. A Run takes the context that ends it first.
func TestRunTakesAContext(t *testing.T) {
	for _, s := range load(t) {
		if s.test || !within(s.pkg, module+"/internal") {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Run" || len(f.Type.Params.List) == 0 {
				continue
			}
			if sel, ok := f.Type.Params.List[0].Type.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Context" {
				t.Errorf("%s: Run does not take a context first", s.fset.Position(f.Pos()))
			}
		}
	}
}

// A constructor starts no goroutine: nobody would own it.
func TestConstructorsStartNothing(t *testing.T) {
	for _, s := range load(t) {
		if s.test || !within(s.pkg, module+"/internal") {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil || f.Recv != nil || !constructor(f.Name.Name) {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncLit:
					return false // it runs when somebody calls it
				case *ast.GoStmt:
					t.Errorf("%s: %s starts a goroutine; start it in Run, which ends it", s.fset.Position(n.Pos()), f.Name.Name)
				}
				return true
			})
		}
	}
}

// constructor tells whether a function is one by its name: New, or New and a noun.
func constructor(name string) bool {
	rest, ok := strings.CutPrefix(name, "New")
	return ok && (rest == "" || rest[0] >= 'A' && rest[0] <= 'Z')
}

// nodeHelpers are the small parts of Kubernetes that the node agent may use.
var nodeHelpers = []string{
	"k8s.io/kubernetes/pkg/api/v1/pod",
	"k8s.io/kubernetes/pkg/api/v1/resource",
	"k8s.io/kubernetes/pkg/apis/core/v1/helper",
	"k8s.io/kubernetes/pkg/fieldpath",
	"k8s.io/kubernetes/pkg/kubelet/envvars",
	"k8s.io/kubernetes/pkg/kubelet/lifecycle", // the types of the next
	"k8s.io/kubernetes/pkg/kubelet/sysctl",
	"k8s.io/kubernetes/pkg/kubelet/util/format",
	"k8s.io/kubernetes/pkg/probe",
	"k8s.io/kubernetes/pkg/securitycontext",
	"k8s.io/kubernetes/pkg/volume/util",
	"k8s.io/kubernetes/third_party/forked/golang/expansion",
}

func TestOnlyControlPlaneImportsKubernetes(t *testing.T) {
	for _, s := range load(t) {
		for _, p := range s.imports {
			if !within(p, "k8s.io/kubernetes") || feature(s.pkg) == "controlplane" {
				continue
			}
			if feature(s.pkg) == "node" && withinAny(p, nodeHelpers...) {
				continue
			}
			if withinAny(s.pkg, module+"/bench/kubeproxy", module+"/test/conformance/upstream") { // modules of their own
				continue
			}
			if s.pkg == module+"/test/fields" && p == "k8s.io/kubernetes/pkg/features" { // it asks which gates are open
				continue
			}
			t.Errorf("%s imports %s", s.path, p)
		}
	}
}

// Objects are in today's versions for everybody but the package that converts old
// ones.
func TestOnlyCompatKnowsOldVersions(t *testing.T) {
	old := []string{
		"k8s.io/api/apps/v1beta1", "k8s.io/api/apps/v1beta2", "k8s.io/api/batch/v1beta1", "k8s.io/api/extensions/v1beta1",
		"k8s.io/api/networking/v1beta1", "k8s.io/api/policy/v1beta1", "k8s.io/api/rbac/v1beta1", "k8s.io/api/rbac/v1alpha1",
		"k8s.io/api/storage/v1beta1", "k8s.io/api/scheduling/v1beta1", "k8s.io/api/discovery/v1beta1", "k8s.io/api/events/v1beta1",
		"k8s.io/api/node/v1beta1", "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1",
	}
	for _, s := range load(t) {
		if s.test || within(s.pkg, module+"/internal/controlplane/compat") || withinAny(s.pkg, module+"/test", module+"/bench") {
			continue
		}
		for _, p := range s.imports {
			if withinAny(p, old...) {
				t.Errorf("%s imports %s; use today's version", s.path, p)
			}
		}
	}
}

func TestOnlyTheFloorTouchesTheKernel(t *testing.T) {
	kernel := []string{"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys/unix", "github.com/google/nftables", "github.com/cilium/ebpf"}
	allowed := []string{module + "/internal/host", module + "/internal/service/dataplane", module + "/internal/loadbalancer/announce", module + "/internal/runtime"}
	for _, s := range load(t) {
		if s.test || withinAny(s.pkg, allowed...) || withinAny(s.pkg, module+"/test", module+"/bench") {
			continue
		}
		for _, p := range s.imports {
			if withinAny(p, kernel...) {
				t.Errorf("%s imports %s; go through internal/host", s.path, p)
			}
		}
	}
}

// pure packages take a snapshot and return a decision.
var pure = []string{
	module + "/internal/claims/plan",
	module + "/internal/service/route",
	module + "/internal/dns/zone",
	module + "/internal/node/admit",
	module + "/internal/node/credential",
	module + "/internal/cluster/ctlline",
	module + "/internal/controlplane/manifest",
	module + "/internal/loadbalancer/config",
	module + "/internal/loadbalancer/elect",
	module + "/internal/loadbalancer/pool",
	module + "/internal/loadbalancer/show",
	module + "/internal/ingress/certs",
	module + "/internal/ingress/htpasswd",
	module + "/internal/ingress/nginx",
	module + "/internal/ingress/regex",
	module + "/internal/ingress/table",
}

func TestPurePackagesArePure(t *testing.T) {
	impure := []string{"os", "net/http", "os/exec", "syscall", "io/ioutil", "k8s.io/client-go", "log/slog", "math/rand", "math/rand/v2", "context", module + "/internal/host"}
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"}
	for _, s := range load(t) {
		if s.test || !withinAny(s.pkg, pure...) {
			continue
		}
		for _, p := range s.imports {
			if withinAny(p, impure...) {
				t.Errorf("%s imports %s: no I/O, no client, no chance in a pure package", s.path, p)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
				t.Errorf("%s: time.%s: no clock in a pure package", s.fset.Position(sel.Pos()), sel.Sel.Name)
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "net" && (strings.HasPrefix(sel.Sel.Name, "Dial") || strings.HasPrefix(sel.Sel.Name, "Listen") || strings.HasPrefix(sel.Sel.Name, "Lookup")) {
				t.Errorf("%s: net.%s: no I/O in a pure package", s.fset.Position(sel.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	documented, seen := map[string]bool{}, map[string]string{}
	for _, s := range load(t) {
		if s.test && !withinAny(s.pkg, module+"/test") {
			continue
		}
		seen[s.pkg] = s.path
		if s.file.Doc != nil {
			documented[s.pkg] = true
		}
	}
	for pkg, path := range seen {
		if !documented[pkg] {
			t.Errorf("package %s (%s) has no package comment", pkg, path)
		}
	}
}

func TestNoInitFunctions(t *testing.T) {
	for _, s := range load(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init(); start work in New or Run", s.fset.Position(f.Pos()))
			}
		}
	}
}

// A test may pause between two looks at something, never to give it time.
func TestSleepInTestsOnlyWhilePolling(t *testing.T) {
	for _, s := range load(t) {
		if !s.test || withinAny(s.pkg, module+"/test/rules") {
			continue
		}
		polling := map[token.Pos]bool{}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if loop, ok := n.(*ast.ForStmt); ok {
				ast.Inspect(loop, func(n ast.Node) bool {
					if n != nil && isSleep(n) {
						polling[n.Pos()] = true
					}
					return true
				})
			}
			return true
		})
		ast.Inspect(s.file, func(n ast.Node) bool {
			if n != nil && isSleep(n) && !polling[n.Pos()] {
				t.Errorf("%s: time.Sleep outside of a polling loop; poll to a deadline", s.fset.Position(n.Pos()))
			}
			return true
		})
	}
}

func isSleep(n ast.Node) bool {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Sleep" {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "time"
}
