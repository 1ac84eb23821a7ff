package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// expiring write DIR LIFE: replaces every certificate below a cluster's directory of certificates that is no CA's
// by one that says the same and lives for LIFE from now, as if it had been made long ago.
func expiring(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 3 && args[0] == "write":
		life, err := time.ParseDuration(args[2])
		ts.Check(err)
		ts.Check(writeExpiring(ts.MkAbs(args[1]), time.Now(), life))
	default:
		ts.Fatalf("usage: expiring write DIR LIFE")
	}
}

func writeExpiring(dir string, now time.Time, life time.Duration) error {
	issuers := map[string]*x509.Certificate{}
	keys := map[string]*ecdsa.PrivateKey{}
	for _, name := range []string{"ca", "front-proxy-ca"} {
		cert, key, err := readPair(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		issuers[cert.Subject.CommonName], keys[cert.Subject.CommonName] = cert, key
	}
	var files []string
	for _, pattern := range []string{"*.crt", "nodes/*.crt"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	written := 0
	for _, file := range files {
		base := strings.TrimSuffix(file, ".crt")
		cert, key, err := readPair(base)
		if err != nil {
			return err
		}
		if cert.IsCA {
			continue
		}
		issuer := cert.Issuer.CommonName
		if issuers[issuer] == nil {
			return fmt.Errorf("%s: nobody knows the issuer %s", file, issuer)
		}
		serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
		if err != nil {
			return err
		}
		next := *cert
		next.SerialNumber = serial
		next.NotBefore, next.NotAfter = now.Add(-5*time.Second), now.Add(life)
		der, err := x509.CreateCertificate(rand.Reader, &next, issuers[issuer], key.Public(), keys[issuer])
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
			return err
		}
		written++
	}
	if written < 5 {
		return errors.New("there are fewer certificates than a cluster of one node has")
	}
	return nil
}

func readPair(base string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", base, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%s: the key is a %T", base, pair.PrivateKey)
	}
	return pair.Leaf, key, nil
}

// watched COMMAND ARG...: runs a command in the background until the script ends. `watched` without arguments fails
// if it has ended, and writes what it has said to standard output.
func watched(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(watchedKey).(*watchedCommand)
	if neg {
		ts.Fatalf("usage: watched [COMMAND ARG...]")
	}
	if len(args) == 0 {
		out, err := os.ReadFile(w.output)
		ts.Check(err)
		select {
		case err := <-w.ended:
			ts.Fatalf("the command has ended (%v) after it said:\n%s", err, out)
		default:
		}
		_, err = bytes.NewReader(out).WriteTo(ts.Stdout())
		ts.Check(err)
		return
	}
	w.output, w.ended = ts.MkAbs("watched"), make(chan error, 1)
	file, err := os.Create(w.output)
	ts.Check(err)
	cmd := command(ts, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = file, file
	ts.Check(cmd.Start())
	gone := make(chan struct{})
	go func() {
		w.ended <- cmd.Wait()
		file.Close()
		close(gone)
	}()
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		<-gone
	})
}

type watchedCommand struct {
	output string
	ended  chan error
}

const watchedKey = "watched"
