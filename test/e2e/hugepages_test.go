package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	hugePagesFile = "/proc/sys/vm/nr_hugepages"
	// poolOfTest is how many pages a script may have.
	poolOfTest = 8
)

// condition tells of the machine: hugepages is one that can have a pool of huge pages,
// and has none yet, which somebody else might use.
func condition(name string) (bool, error) {
	if name != "hugepages" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	if readPool() != 0 {
		return false, nil
	}
	defer os.WriteFile(hugePagesFile, []byte("0"), 0o644)
	if os.WriteFile(hugePagesFile, []byte(strconv.Itoa(poolOfTest)), 0o644) != nil {
		return false, nil
	}
	return readPool() == poolOfTest, nil
}

// readPool is how many huge pages the machine has; -1 where it can't have any.
func readPool() int {
	text, err := os.ReadFile(hugePagesFile)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return n
}

// hugePages N: gives the machine a pool of N huge pages, until the script ends.
func hugePages(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hugepages N")
	}
	ts.Defer(func() {
		if err := os.WriteFile(hugePagesFile, []byte("0"), 0o644); err != nil {
			ts.Logf("the machine's huge pages are not put back: %v", err)
		}
	})
	ts.Check(os.WriteFile(hugePagesFile, []byte(args[0]), 0o644))
}
