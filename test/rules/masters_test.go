package rules

import (
	"go/ast"
	"go/token"
	"strconv"
	"testing"
)

// Only the API server's calls to itself are made by a member of the group that
// no authorizer is asked about; every part has a user with roles.
func TestOnlyTheAPIServerIsMaster(t *testing.T) {
	const own = "internal/controlplane/apiserver/server.go"
	for _, s := range load(t) {
		if s.test || s.path == own || !withinAny(s.pkg, module+"/internal", module+"/cmd") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if v, err := strconv.Unquote(lit.Value); err == nil && v == "system:masters" {
					t.Errorf("%s: system:masters; use a user of internal/controlplane/access", s.fset.Position(lit.Pos()))
				}
			}
			return true
		})
	}
}
