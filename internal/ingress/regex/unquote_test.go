package regex

import "testing"

// nginx, ngx_conf_read_token: the escapes of a quoted parameter.
func TestUnquote(t *testing.T) {
	for s, want := range map[string]string{
		`/a\.b`: `/a\.b`, `/a\\.b`: `/a\.b`, `/\"`: `/"`, `/\'`: `/'`, `/\t\r\n`: "/\t\r\n", `/a\`: `/a\`, `/\d+\\\\`: `/\d+\\`, `/`: `/`, ``: ``,
	} {
		if got := Unquote(s); got != want {
			t.Errorf("Unquote(%s) = %q, want %q", s, got, want)
		}
	}
}
