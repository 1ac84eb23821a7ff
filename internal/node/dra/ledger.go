package dra

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// key is the name of a claim.
type key struct{ namespace, name string }

// claim is what was begun for a ResourceClaim.
type claim struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Allocated are the devices that the claim had been given then, in the scheduler's words.
	Allocated []string `json:"allocated,omitempty"`
	// Pods are those that the claim is prepared for.
	Pods []types.UID `json:"pods"`
	// Drivers are those that were asked, with the devices that they have prepared.
	Drivers map[string][]device `json:"drivers"`
	// prepared is set once all drivers have answered in this run of the agent: CDI specs
	// may not outlive a restart of the machine.
	prepared bool
}

// device is one that a driver has prepared.
type device struct {
	Pool     string   `json:"pool"`
	Name     string   `json:"name"`
	Share    *string  `json:"share,omitempty"`
	Requests []string `json:"requests,omitempty"`
	CDI      []string `json:"cdi,omitempty"`
}

// is tells whether the device belongs to a request of the claim; "" is any.
func (d device) is(request string) bool {
	return request == "" || len(d.Requests) == 0 || slices.Contains(d.Requests, request)
}

func (c *claim) key() key { return key{c.Namespace, c.Name} }

// cdi are the names of devices that a container gets with a request of the claim,
// sorted by driver.
func (c *claim) cdi(request string) []string {
	var out []string
	for _, driver := range slices.Sorted(maps.Keys(c.Drivers)) {
		for _, d := range c.Drivers[driver] {
			if d.is(request) {
				out = append(out, d.CDI...)
			}
		}
	}
	return out
}

// ledger has the claims by name. It does not lock.
type ledger map[key]*claim

// of lists the claims that are prepared for a Pod, by name.
func (l ledger) of(pod types.UID) []*claim {
	var out []*claim
	for _, c := range l {
		if slices.Contains(c.Pods, pod) {
			out = append(out, c)
		}
	}
	sortClaims(out)
	return out
}

func sortClaims(list []*claim) {
	slices.SortFunc(list, func(a, b *claim) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

func (l ledger) encode() ([]byte, error) {
	list := slices.Collect(maps.Values(l))
	sortClaims(list)
	return json.Marshal(list)
}

func decode(data []byte) (ledger, error) {
	var list []*claim
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	l := ledger{}
	for _, c := range list {
		if c == nil || c.Namespace == "" || c.Name == "" || c.UID == "" {
			return nil, errors.New("the record of a claim lacks its namespace, name or UID")
		}
		if c.Drivers == nil {
			c.Drivers = map[string][]device{}
		}
		l[c.key()] = c
	}
	return l, nil
}
