package nginx

import (
	"fmt"
	"strings"

	"minato/internal/ingress/table"
)

// Vars says which variables a text may name besides those of a request, which are always allowed.
type Vars uint8

// The further groups of variables.
const (
	// CaptureVars are $1 to $9, where a pattern of a path has matched.
	CaptureVars Vars = 1 << iota
	// LogVars are those that are known once a request has been answered.
	LogVars
	// StreamVars are those of the log of TCP and UDP services.
	StreamVars
	// KeyVars are those that make a key and nothing else: $binary_remote_addr.
	KeyVars
)

// ParseText parses a text with variables as nginx writes them: $name, ${name} and, with CaptureVars, $1 to $9. It fails
// on a variable that is unknown or not allowed here, on a "$" without a name, and on control characters, which no header
// and no URL may hold.
func ParseText(s string, allowed Vars) (table.Text, error) {
	if i := controlCharacter(s); i >= 0 {
		return table.Text{}, fmt.Errorf("the text has the control character %q at byte %d; remove it", s[i], i)
	}
	var t table.Text
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			t.Parts = append(t.Parts, table.Part{Literal: s[:i]})
			s = s[i:]
			continue
		}
		name, rest, err := variableName(s[1:])
		if err != nil {
			return table.Text{}, err
		}
		part, err := variable(name, allowed)
		if err != nil {
			return table.Text{}, err
		}
		t.Parts = append(t.Parts, part)
		s = rest
	}
	return t, nil
}

// literal is a Text without variables.
func literal(s string) table.Text {
	if s == "" {
		return table.Text{}
	}
	return table.Text{Parts: []table.Part{{Literal: s}}}
}

// variableName cuts the name off the text after a "$". A digit is a name of its own, as in nginx: $10 is $1 and "0".
func variableName(s string) (name, rest string, err error) {
	if strings.HasPrefix(s, "{") {
		name, rest, ok := strings.Cut(s[1:], "}")
		if !ok || name == "" {
			return "", "", fmt.Errorf("the text has a ${ without a name and a }")
		}
		return name, rest, nil
	}
	if s != "" && s[0] >= '1' && s[0] <= '9' {
		return s[:1], s[1:], nil
	}
	n := 0
	for n < len(s) && nameByte(s[n]) {
		n++
	}
	if n == 0 {
		return "", "", fmt.Errorf("the text has a $ without a variable's name; a $ alone can't be written")
	}
	return s[:n], s[n:], nil
}

func nameByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// variable returns the part that a variable's name stands for.
func variable(name string, allowed Vars) (table.Part, error) {
	if len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
		if allowed&CaptureVars == 0 {
			return table.Part{}, fmt.Errorf("$%s is a capture of a path's pattern, and there is none here", name)
		}
		return table.Part{Var: table.VarCapture, Name: name}, nil
	}
	// nginx takes variables' names in any case.
	lower := strings.ToLower(name)
	for _, g := range [...]struct {
		group Vars
		v     table.Var
	}{
		{0, requestVariable(lower)},
		{KeyVars, keyVariable(lower)},
		{LogVars | StreamVars, logVariable(lower)},
		{StreamVars, streamVariable(lower)},
	} {
		if g.v == table.VarNone {
			continue
		}
		if g.group != 0 && allowed&g.group == 0 {
			return table.Part{}, fmt.Errorf("$%s is not known yet when this text is used", name)
		}
		return table.Part{Var: g.v}, nil
	}
	return prefixed(name, lower, allowed)
}

// prefixed returns the part for a variable with a parameter in its name, such as $http_x_user.
func prefixed(name, lower string, allowed Vars) (table.Part, error) {
	for _, p := range [...]struct {
		prefix string
		v      table.Var
		group  Vars
		header bool
	}{
		{"http_", table.VarHeader, 0, true},
		{"arg_", table.VarArg, 0, false},
		{"cookie_", table.VarCookie, 0, false},
		{"sent_http_", table.VarSentHeader, LogVars, true},
		{"upstream_http_", table.VarUpstreamHeader, LogVars, true},
	} {
		if !strings.HasPrefix(lower, p.prefix) || len(name) == len(p.prefix) {
			continue
		}
		if p.group != 0 && allowed&p.group == 0 {
			return table.Part{}, fmt.Errorf("$%s is not known yet when this text is used", name)
		}
		// A cookie's name may have bytes that only ${…} can hold, "-" above all.
		param := name[len(p.prefix):]
		if p.header {
			param = strings.ReplaceAll(lower[len(p.prefix):], "_", "-")
		}
		if !isToken(param) {
			return table.Part{}, fmt.Errorf("$%s has a name that no header, argument or cookie has", name)
		}
		return table.Part{Var: p.v, Name: param}, nil
	}
	return table.Part{}, fmt.Errorf("the variable $%s is unknown", name)
}

// requestVariable returns the variable of a name in lower case; VarNone for others.
func requestVariable(name string) table.Var {
	switch name {
	case "host":
		return table.VarHost
	case "best_http_host", "this_host":
		return table.VarBestHTTPHost
	case "http_host":
		return table.VarHTTPHost
	case "request_uri":
		return table.VarRequestURI
	case "escaped_request_uri":
		return table.VarEscapedRequestURI
	case "uri", "document_uri":
		return table.VarURI
	case "scheme", "pass_access_scheme":
		return table.VarScheme
	case "args", "query_string":
		return table.VarArgs
	case "is_args":
		return table.VarIsArgs
	case "remote_addr", "the_real_ip":
		return table.VarRemoteAddr
	case "remote_port":
		return table.VarRemotePort
	case "remote_user":
		return table.VarRemoteUser
	case "request_method":
		return table.VarRequestMethod
	case "server_protocol":
		return table.VarServerProtocol
	case "server_name":
		return table.VarServerName
	case "server_port", "pass_server_port", "pass_port":
		return table.VarServerPort
	case "server_addr":
		return table.VarServerAddr
	case "request_id", "req_id":
		return table.VarRequestID
	case "proxy_add_x_forwarded_for":
		return table.VarProxyAddXForwardedFor
	case "content_type":
		return table.VarContentType
	case "content_length":
		return table.VarContentLength
	case "msec":
		return table.VarMsec
	case "hostname":
		return table.VarHostname
	}
	return objectVariable(name)
}

// objectVariable are the variables of Ingress and Service, and of TLS.
func objectVariable(name string) table.Var {
	switch name {
	case "namespace":
		return table.VarNamespace
	case "ingress_name":
		return table.VarIngressName
	case "service_name":
		return table.VarServiceName
	case "service_port":
		return table.VarServicePort
	case "proxy_upstream_name":
		return table.VarUpstreamName
	case "proxy_protocol_addr":
		return table.VarProxyProtocolAddr
	case "realip_remote_addr":
		return table.VarRealIPRemoteAddr
	case "ssl_client_s_dn":
		return table.VarSSLClientSDN
	case "ssl_client_i_dn":
		return table.VarSSLClientIDN
	case "ssl_client_verify":
		return table.VarSSLClientVerify
	case "ssl_client_fingerprint":
		return table.VarSSLClientFingerprint
	case "ssl_client_serial":
		return table.VarSSLClientSerial
	case "ssl_client_escaped_cert":
		return table.VarSSLClientCert
	case "ssl_protocol":
		return table.VarSSLProtocol
	case "ssl_cipher":
		return table.VarSSLCipher
	case "ssl_server_name":
		return table.VarSSLServerName
	}
	return table.VarNone
}

// keyVariable: the address in binary makes the same key as the address as text.
func keyVariable(name string) table.Var {
	if name == "binary_remote_addr" {
		return table.VarRemoteAddr
	}
	return table.VarNone
}

func logVariable(name string) table.Var {
	switch name {
	case "time_local":
		return table.VarTimeLocal
	case "time_iso8601":
		return table.VarTimeISO8601
	case "request":
		return table.VarRequestLine
	case "status":
		return table.VarStatus
	case "body_bytes_sent":
		return table.VarBodyBytesSent
	case "bytes_sent":
		return table.VarBytesSent
	case "request_length":
		return table.VarRequestLength
	case "request_time":
		return table.VarRequestTime
	case "upstream_addr":
		return table.VarUpstreamAddr
	case "upstream_status":
		return table.VarUpstreamStatus
	case "upstream_connect_time":
		return table.VarUpstreamConnectTime
	case "upstream_header_time":
		return table.VarUpstreamHeaderTime
	case "upstream_response_time":
		return table.VarUpstreamResponseTime
	case "upstream_response_length":
		return table.VarUpstreamResponseLength
	case "proxy_alternative_upstream_name":
		return table.VarAlternativeUpstreamName
	case "connection":
		return table.VarConnection
	case "connection_requests":
		return table.VarConnectionRequests
	case "pipe":
		return table.VarPipe
	case "pid":
		return table.VarPID
	case "location_path":
		return table.VarLocationPath
	}
	return table.VarNone
}

func streamVariable(name string) table.Var {
	switch name {
	case "protocol":
		return table.VarProtocol
	case "bytes_received":
		return table.VarBytesReceived
	case "session_time":
		return table.VarSessionTime
	case "upstream_bytes_sent":
		return table.VarUpstreamBytesSent
	case "upstream_bytes_received":
		return table.VarUpstreamBytesReceived
	}
	return table.VarNone
}
