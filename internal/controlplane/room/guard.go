package room

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
)

const (
	// least is what has to be left of the disk, in bytes: etcd takes room ahead of
	// what it writes.
	least = 128 << 20
	// leastShare is the part of a small disk that has to be left in place of that.
	leastShare = 8
)

// reason is the reason of the Status of a request that is refused, which has the
// code 507 (RFC 4918).
const reason metav1.StatusReason = "InsufficientStorage"

// Guard refuses requests that would store more on a disk that is nearly full.
type Guard struct {
	dir string
	// left is what the disk has left for its users and for root, and what it has in
	// all, in bytes.
	left func(dir string) (available, capacity int64, err error)
}

// NewGuard returns the guard of the disk that dir is on.
func NewGuard(dir string) *Guard { return &Guard{dir: dir, left: left} }

func left(dir string) (available, capacity int64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize, nil
}

// Handler passes requests on to next while there is room for them. It belongs
// where the user and what a request is about are known.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := g.refuses(r); why != "" {
			responsewriters.WriteRawJSON(http.StatusInsufficientStorage, metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
				Status:   metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: reason, Message: why,
			}, w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuses says why the request is not taken, empty where it is. A disk that can't
// be measured refuses nothing.
func (g *Guard) refuses(r *http.Request) string {
	info, ok := request.RequestInfoFrom(r.Context())
	if !ok || !info.IsResourceRequest {
		return ""
	}
	name := ""
	if user, ok := request.UserFrom(r.Context()); ok {
		name = user.GetName()
	}
	if !stores(info, name) {
		return ""
	}
	available, capacity, err := g.left(g.dir)
	if err != nil {
		return ""
	}
	needed := min(least, capacity/leastShare)
	if available >= needed {
		return ""
	}
	return fmt.Sprintf("the disk that the cluster stores its objects on has %s left, and takes no more objects until there are %s: free space there (%s) or delete objects",
		quantity(available), quantity(needed), g.dir)
}

// small are resources of which little is stored, and that the cluster needs to
// go on and to tell what it lacks. Of those whose names end in "reviews" nothing
// is stored.
var small = []string{"leases", "events", "nodes", "evictions"}

// ours tells whether a user is one of Kubernetes' own: names that begin with "system:",
// of which those of service accounts are anybody's, but for the controllers' in
// kube-system.
func ours(user string) bool {
	account, is := strings.CutPrefix(user, "system:serviceaccount:")
	return is && strings.HasPrefix(account, metav1.NamespaceSystem+":") || !is && strings.HasPrefix(user, "system:")
}

// stores tells whether a request stores something that can wait. Kubernetes' own
// users bring objects to their end by changing them: they remove finalizers, for one.
func stores(info *request.RequestInfo, user string) bool {
	switch info.Verb {
	case "create":
		return info.Subresource == "" && !slices.Contains(small, info.Resource) && !strings.HasSuffix(info.Resource, "reviews")
	case "update", "patch":
		return info.Subresource == "" && !slices.Contains(small, info.Resource) && !ours(user)
	}
	return false
}

func quantity(n int64) string {
	if n > 1<<20 {
		n = n >> 20 << 20
	}
	return resource.NewQuantity(n, resource.BinarySI).String()
}
