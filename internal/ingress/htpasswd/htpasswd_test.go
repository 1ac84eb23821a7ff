package htpasswd

import (
	"strings"
	"testing"
	"time"
)

// password is what all hashes of the tests are of: it has what files could be confused by.
const password = "pä ss:w0rd"

// hashes are made by openssl passwd, crypt(3) and Python's hashlib.
var hashes = []string{
	"{PLAIN}" + password,
	"{SHA}+zGofIcyQaHgzBP6zRnbOazIIxA=",
	"{SSHA}ZfxA+k/ImMJVYhB36Sjf/fAN7F5zYWx0",
	"$apr1$saltsalt$9AiFLq5bsNGSPpIWtnvpA0",
	"$1$saltsalt$KW53YvZ7J2lXWMilmO6jt0",
	"$2a$04$7JXEitJ/ebMFXZuxaexXLOyK/KKgEwF1L37cHAvz/2flbbHgAvOvW",
	"$2y$04$7JXEitJ/ebMFXZuxaexXLOyK/KKgEwF1L37cHAvz/2flbbHgAvOvW",
	"$5$saltsalt$EGP.ZbLsfdDCPRHi1u8alrsb/Y6s29Gj5MgunBQ/BLC",
	"$5$rounds=1000$saltsalt$0yLpPkowSAJsBwBdFBxNWo4U4mNIlWkB.3dUllTElk0",
	"$6$saltsalt$QyCSwnyKSnXzB0V.kEaXj88VAH0R8eeu87hQE1ynf7K8etmviZhPM58WfX.APFDBspMafSKft1ZUoga6gpWfD1",
}

func TestMatches(t *testing.T) {
	for _, s := range hashes {
		h, err := Parse(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if !h.Matches(password) {
			t.Errorf("%s doesn't match its password", s)
		}
		for _, wrong := range []string{"", password + "x", strings.ToUpper(password), password[:len(password)-1], s, strings.Repeat("x", MaxPassword+1), password + "\x00"} {
			if h.Matches(wrong) {
				t.Errorf("%s matches %q", s, wrong)
			}
		}
	}
}

// Hashes that can't be verified, or that would cost too much, are refused by name, without the hash in the error.
func TestRefused(t *testing.T) {
	for s, says := range map[string]string{
		"":              "no known form",
		"plain":         "no known form",
		"abiQ6Ep3EYTHc": "DES crypt",
		"{MD5}x":        "no known form",
		"{SHA}short":    "malformed",
		"{SSHA}short":   "malformed",
		"$apr1$nosalt":  "malformed",
		"$apr1$toolongasalt$9AiFLq5bsNGSPpIWtnvpA0":                    "malformed",
		"$2y$13$7JXEitJ/ebMFXZuxaexXLOyK/KKgEwF1L37cHAvz/2flbbHgAvOvW": "cost 13",
		"$2y$31$7JXEitJ/ebMFXZuxaexXLOyK/KKgEwF1L37cHAvz/2flbbHgAvOvW": "cost 31",
		"$2y$03$7JXEitJ/ebMFXZuxaexXLOyK/KKgEwF1L37cHAvz/2flbbHgAvOvW": "malformed",
		"$2x$04$7JXEitJ/ebMFXZuxaexXLOyK/KKgEwF1L37cHAvz/2flbbHgAvOvW": "malformed",
		"$2y$04$short": "malformed",
		"$5$nosalt":    "malformed",
		"$5$rounds=999999999$saltsalt$EGP.ZbLsfdDCPRHi1u8alrsb/Y6s29Gj5MgunBQ/BLC": "999999999 rounds",
		"$5$rounds=1$saltsalt$EGP.ZbLsfdDCPRHi1u8alrsb/Y6s29Gj5MgunBQ/BLC":         "malformed",
		"$5$rounds=x$saltsalt$EGP.ZbLsfdDCPRHi1u8alrsb/Y6s29Gj5MgunBQ/BLC":         "malformed",
		"$6$$x":                "malformed",
		"$7$saltsalt$whatever": "no known form",
	} {
		if _, err := Parse(s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Parse(%q): %v, want an error with %q", s, err, says)
		} else if len(s) > 20 && strings.Contains(err.Error(), s) {
			t.Errorf("the error has the hash in it: %v", err)
		}
	}
}

// RFC 2617's own example, section 3.5.
func TestIsHA1(t *testing.T) {
	const got = "939e7578ed9e3c518a452acee763bce9"
	if !IsHA1(got) {
		t.Errorf("%s does not pass", got)
	}
	for _, s := range []string{"", "939e", got + "00", strings.Repeat("z", 32)} {
		if IsHA1(s) {
			t.Errorf("%q passes", s)
		}
	}
}

// No text makes the libraries panic, and what is taken costs a bounded time.
func FuzzParse(f *testing.F) {
	for _, s := range hashes {
		f.Add(s, password)
	}
	f.Add("$6$rounds=1000$a$b", "")
	f.Add("$2y$04$", "x")
	f.Fuzz(func(t *testing.T, s, password string) {
		h, err := Parse(s)
		if err != nil {
			return
		}
		start := time.Now()
		h.Matches(password)
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%q takes %v", s, d)
		}
	})
}
