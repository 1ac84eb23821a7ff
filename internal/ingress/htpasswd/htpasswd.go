// Package htpasswd verifies passwords against the hashes of htpasswd files, as nginx's auth_basic has them: {PLAIN},
// {SHA}, {SSHA}, MD5 ($apr1$, $1$), bcrypt ($2a$, $2b$, $2y$) and SHA-crypt ($5$, $6$). It is pure: no I/O, no clock.
//
// What a look at a password may cost is bounded, because clients decide how often it happens: hashes that are dearer,
// and DES crypt, which has 56 bits, are refused by Parse.
package htpasswd

import (
	"crypto/md5" //nolint:gosec // digest authentication (RFC 7616) is made of it
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	lib "github.com/tg123/go-htpasswd"
)

// The bounds of what one look at a password costs: a quarter of a second on a core of today.
const (
	MaxBcryptCost = 12
	MaxSHARounds  = 100_000
	// MaxPassword is in bytes: SHA-crypt's cost grows with the password. Longer ones match nothing.
	MaxPassword = 256
)

// Hash is a hash that passwords can be verified against. It may be used by several goroutines.
type Hash struct {
	plain string
	coded lib.EncodedPasswd
}

// Parse parses a hash. The error says why a password can't be verified against it; it doesn't hold the hash.
func Parse(s string) (*Hash, error) {
	if rest, ok := strings.CutPrefix(s, "{PLAIN}"); ok {
		return &Hash{plain: rest}, nil
	}
	for _, f := range [...]struct {
		prefix string
		check  func(string) error
		accept lib.PasswdParser
	}{
		{"{SHA}", none, lib.AcceptSha},
		{"{SSHA}", none, lib.AcceptSsha},
		{"$apr1$", checkMD5, lib.AcceptMd5},
		{"$1$", checkMD5, lib.AcceptMd5},
		{"$2", checkBcrypt, lib.AcceptBcrypt},
		{"$5$", checkSHA, lib.AcceptCryptSha},
		{"$6$", checkSHA, lib.AcceptCryptSha},
	} {
		if !strings.HasPrefix(s, f.prefix) {
			continue
		}
		if err := f.check(s); err != nil {
			return nil, err
		}
		coded, err := f.accept(s)
		if err != nil || coded == nil { // the library's error has the hash in it
			return nil, fmt.Errorf("its %s hash is malformed", f.prefix)
		}
		return &Hash{coded: coded}, nil
	}
	if len(s) == 13 && cryptText(s) {
		return nil, errors.New("its hash is of DES crypt, which is not supported; make it anew with htpasswd -B")
	}
	return nil, errors.New("its hash has no known form; make it anew with htpasswd -B")
}

// Matches tells whether the password is the one. It takes the time of its hash, whatever the answer.
func (h *Hash) Matches(password string) bool {
	if len(password) > MaxPassword {
		return false
	}
	if h.coded == nil {
		return subtle.ConstantTimeCompare([]byte(h.plain), []byte(password)) == 1
	}
	return h.coded.MatchesPassword(password)
}

// IsHA1 tells whether s has the form of what digest authentication keeps of a password (RFC 7616, section 3.4.2, with MD5): 32
// hexadecimal digits.
func IsHA1(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 2*md5.Size
}

func none(string) error { return nil }

func checkMD5(s string) error {
	f := strings.Split(s, "$")
	if len(f) != 4 || len(f[2]) > 8 || !cryptText(f[2]) || len(f[3]) != 22 || !cryptText(f[3]) {
		return errors.New("its MD5 hash is malformed")
	}
	return nil
}

func checkBcrypt(s string) error {
	if len(s) != 60 || s[3] != '$' || s[6] != '$' || !strings.ContainsRune("aby", rune(s[2])) || !cryptText(s[7:]) {
		return errors.New("its bcrypt hash is malformed")
	}
	cost, err := strconv.Atoi(s[4:6])
	if err != nil || cost < 4 {
		return errors.New("its bcrypt hash is malformed")
	}
	if cost > MaxBcryptCost {
		return fmt.Errorf("its bcrypt hash has cost %d, and each login would take seconds; make it anew with a cost of at most %d", cost, MaxBcryptCost)
	}
	return nil
}

// checkSHA checks what the library relies on: the form of salt, rounds and hash.
func checkSHA(s string) error {
	malformed := errors.New("its SHA-crypt hash is malformed")
	f := strings.Split(s, "$")[1:]
	if len(f) == 4 {
		n, ok := strings.CutPrefix(f[1], "rounds=")
		rounds, err := strconv.Atoi(n)
		if !ok || err != nil || rounds < 1000 || n[0] == '0' || n[0] == '+' {
			return malformed
		}
		if rounds > MaxSHARounds {
			return fmt.Errorf("its SHA-crypt hash has %d rounds, and each login would take long; make it anew with at most %d", rounds, MaxSHARounds)
		}
		f = append(f[:1], f[2:]...)
	}
	length := 43
	if f[0] == "6" {
		length = 86
	}
	if len(f) != 3 || f[1] == "" || len(f[1]) > 16 || !cryptText(f[1]) || len(f[2]) != length || !cryptText(f[2]) {
		return malformed
	}
	return nil
}

// cryptText tells whether s is in the alphabet of crypt.
func cryptText(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '/' {
			return false
		}
	}
	return true
}
