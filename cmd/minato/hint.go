package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"minato/internal/cluster"
)

// terminal is where a user types the command that we propose.
type terminal struct {
	minato     string // how this program is called there
	kubectl    bool   // there is a kubectl on the PATH
	sudo       bool   // commands are run as root by sudo
	kubeconfig string // the environment's KUBECONFIG
}

func findTerminal() terminal {
	t := terminal{minato: "minato", kubeconfig: os.Getenv("KUBECONFIG"), sudo: os.Getenv("SUDO_USER") != ""}
	self, err := os.Executable()
	if found, other := exec.LookPath("minato"); err == nil && (other != nil || !sameFile(found, self)) {
		t.minato = os.Args[0]
	}
	_, err = exec.LookPath("kubectl")
	t.kubectl = err == nil
	return t
}

func sameFile(a, b string) bool {
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

// firstCommand is a command that works after `up`, with kubectl where there is
// one, and with the one that is built in.
func (t terminal) firstCommand(c cluster.Config, up cluster.UpResult) string {
	ours := quote(t.minato) + " kubectl"
	if c.Name != cluster.DefaultName {
		ours += " --name " + c.Name
	}
	theirs := "kubectl"
	if c.Kubeconfig != "" && !(filepath.IsAbs(t.kubeconfig) && t.kubeconfig == up.Kubeconfig) {
		theirs += " --kubeconfig " + quote(up.Kubeconfig)
	}
	const question = " get nodes"
	ours, theirs = ours+question, theirs+question
	if t.sudo {
		// The kubeconfig is root's.
		ours, theirs = "sudo "+ours, "sudo "+theirs
	}
	if !t.kubectl {
		return ours
	}
	return theirs + "   (or: " + ours + ")"
}

// quote has a shell take s as one word.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
