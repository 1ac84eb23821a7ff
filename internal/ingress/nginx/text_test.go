package nginx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"minato/internal/ingress/table"
)

func TestParseText(t *testing.T) {
	v := func(v table.Var, name string) table.Part { return table.Part{Var: v, Name: name} }
	for _, c := range []struct {
		in      string
		allowed Vars
		want    []table.Part
	}{
		{"", 0, nil},
		{"plain", 0, []table.Part{{Literal: "plain"}}},
		{"$host", 0, []table.Part{v(table.VarHost, "")}},
		{"${host}x", 0, []table.Part{v(table.VarHost, ""), {Literal: "x"}}},
		{"a$host.b", 0, []table.Part{{Literal: "a"}, v(table.VarHost, ""), {Literal: ".b"}}},
		{"$http_X_Forwarded_For", 0, []table.Part{v(table.VarHeader, "x-forwarded-for")}},
		{"$http_host", 0, []table.Part{v(table.VarHTTPHost, "")}},
		{"$arg_User_Id", 0, []table.Part{v(table.VarArg, "User_Id")}},
		{"$cookie_SID", 0, []table.Part{v(table.VarCookie, "SID")}},
		{"${cookie_a-b}", 0, []table.Part{v(table.VarCookie, "a-b")}},
		{"$1$2", CaptureVars, []table.Part{v(table.VarCapture, "1"), v(table.VarCapture, "2")}},
		{"$query_string$args$is_args", 0, []table.Part{v(table.VarArgs, ""), v(table.VarArgs, ""), v(table.VarIsArgs, "")}},
		{"$the_real_ip $REQUEST_URI", 0, []table.Part{v(table.VarRemoteAddr, ""), {Literal: " "}, v(table.VarRequestURI, "")}},
		{"$binary_remote_addr", KeyVars, []table.Part{v(table.VarRemoteAddr, "")}},
		{"$status $sent_http_x_a", LogVars, []table.Part{v(table.VarStatus, ""), {Literal: " "}, v(table.VarSentHeader, "x-a")}},
		{"$protocol $session_time", StreamVars, []table.Part{v(table.VarProtocol, ""), {Literal: " "}, v(table.VarSessionTime, "")}},
	} {
		got, err := ParseText(c.in, c.allowed)
		if err != nil || !cmp.Equal(got.Parts, c.want) {
			t.Errorf("ParseText(%q) = %v, %v; want %v", c.in, got.Parts, err, c.want)
		}
	}
	for _, c := range []struct {
		in      string
		allowed Vars
		says    string
	}{
		{"$", 0, "without a variable's name"},
		{"a$", CaptureVars, "without a variable's name"},
		{"$$", 0, "without a variable's name"},
		{"${host", 0, "${"},
		{"${}", 0, "${"},
		{"$1", 0, "capture"},
		{"$nothing", 0, "$nothing is unknown"},
		{"$status", 0, "not known yet"},
		{"$upstream_http_x", 0, "not known yet"},
		{"$protocol", LogVars, "not known yet"},
		{"$binary_remote_addr", 0, "not known yet"},
		{"$http_", 0, "unknown"},
		{"${arg_a b}", 0, "name"},
		{"$0", CaptureVars, "unknown"},
		{"a\r\nSet-Cookie: x", 0, "control character"},
		{"a\x00", 0, "control character"},
		{"\x7f", 0, "control character"},
	} {
		if got, err := ParseText(c.in, c.allowed); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("ParseText(%q) = %v, %v; want an error with %q", c.in, got.Parts, err, c.says)
		}
	}
}

// The variables in use by the facts are all there.
func TestVariablesInUse(t *testing.T) {
	for _, name := range strings.Fields("host http_x request_uri uri scheme args query_string arg_x cookie_x remote_addr request_method best_http_host escaped_request_uri " +
		"proxy_add_x_forwarded_for namespace ingress_name service_name service_port ssl_client_s_dn ssl_client_verify request_id req_id msec") {
		if _, err := ParseText("$"+name, 0); err != nil {
			t.Error(err)
		}
	}
	// ingress-nginx's own formats of its logs.
	for format, allowed := range map[string]Vars{
		`$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id`: LogVars,
		`[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received $session_time`: StreamVars,
	} {
		if _, err := ParseText(format, allowed); err != nil {
			t.Error(err)
		}
	}
}

// Whatever the text, what is parsed has no control character, known variables, and the text's own literals in its order.
func FuzzParseText(f *testing.F) {
	for _, s := range []string{"", "$host", "${host}/$1", "a$b$", "$http_x_y$arg_a", "\r\n", "$1$10", "${cookie_a-b}"} {
		f.Add(s, uint8(15))
	}
	f.Fuzz(func(t *testing.T, s string, allowed uint8) {
		got, err := ParseText(s, Vars(allowed))
		if err != nil {
			if len(got.Parts) != 0 {
				t.Error("parts with an error")
			}
			return
		}
		rest := s
		for _, p := range got.Parts {
			if (p.Literal == "") == (p.Var == table.VarNone) {
				t.Fatalf("part %+v", p)
			}
			if controlCharacter(p.Literal+p.Name) >= 0 || strings.Contains(p.Literal, "$") {
				t.Fatalf("part %+v", p)
			}
			i := strings.Index(rest, p.Literal)
			if i < 0 {
				t.Fatalf("the literal %q is not in what is left of %q", p.Literal, s)
			}
			rest = rest[i+len(p.Literal):]
		}
		if strings.Count(s, "$") != countVariables(got) {
			t.Fatalf("%q has %d variables", s, countVariables(got))
		}
	})
}

func countVariables(t table.Text) (n int) {
	for _, p := range t.Parts {
		if p.Var != table.VarNone {
			n++
		}
	}
	return n
}
