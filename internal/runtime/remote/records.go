package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Records are files by the UIDs of Pods: each has the socket of the node that runs
// the Pod, for the CNI plugin, and after it whether the Pod is on the node's
// network.
type Records struct {
	// Dir is the directory of all nodes of a cluster, Socket that of the node.
	Dir, Socket string
}

// OnNode follows the socket in the record of a Pod on the node's network.
const OnNode = "node"

// write makes the record of a Pod.
func (r Records) write(uid string, onNode bool) error {
	if uid == "" || strings.ContainsAny(uid, "/\x00") || uid == "." || uid == ".." {
		return fmt.Errorf("%q is no UID", uid)
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	text := r.Socket + "\n"
	if onNode {
		text += OnNode + "\n"
	}
	tmp, err := os.CreateTemp(r.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(r.Dir, uid))
}

func (r Records) remove(uid string) error {
	if err := os.Remove(filepath.Join(r.Dir, uid)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
