package table

// Var is a variable that a Text may name: a closed list, with nginx's names.
type Var uint8

// The variables. Those with a parameter take it from Part.Name.
const (
	VarNone                  Var = iota
	VarHost                      // $host: the request's host without a port, in lower case
	VarBestHTTPHost              // $best_http_host: the Host header, or a trusted X-Forwarded-Host
	VarHTTPHost                  // $http_host
	VarHeader                    // $http_NAME: a request header
	VarRequestURI                // $request_uri: the target as it was received
	VarEscapedRequestURI         // $escaped_request_uri: the same with all but unreserved bytes escaped
	VarURI                       // $uri: the decoded path, after a rewrite
	VarScheme                    // $scheme, or what is trusted of X-Forwarded-Proto ($pass_access_scheme)
	VarArgs                      // $args, $query_string
	VarIsArgs                    // $is_args: "?" if there is a query
	VarArg                       // $arg_NAME
	VarCookie                    // $cookie_NAME
	VarRemoteAddr                // $remote_addr, $the_real_ip
	VarRemotePort                // $remote_port
	VarRemoteUser                // $remote_user
	VarRequestMethod             // $request_method
	VarServerProtocol            // $server_protocol
	VarServerName                // $server_name
	VarServerPort                // $server_port
	VarRequestID                 // $request_id, $req_id
	VarProxyAddXForwardedFor     // $proxy_add_x_forwarded_for
	VarNamespace                 // $namespace
	VarIngressName               // $ingress_name
	VarServiceName               // $service_name
	VarServicePort               // $service_port
	VarCapture                   // $1 to $9: captures of the path's pattern; Part.Name is the digit
	VarContentType               // $content_type
	VarContentLength             // $content_length
	VarSSLClientSDN              // $ssl_client_s_dn
	VarSSLClientIDN              // $ssl_client_i_dn
	VarSSLClientVerify           // $ssl_client_verify
	VarSSLClientFingerprint      // $ssl_client_fingerprint
	VarSSLClientSerial           // $ssl_client_serial
	VarSSLProtocol               // $ssl_protocol
	VarSSLCipher                 // $ssl_cipher
	VarMsec                      // $msec
)

// Part is a piece of a Text: a literal, or a variable if Var is not VarNone.
type Part struct {
	Literal string
	Var     Var
	// Name is the parameter of VarHeader (lower case, with "-"), VarArg, VarCookie (as written) and VarCapture.
	Name string
}

// Text is a text with variables, parsed once. The zero Text is empty.
type Text struct {
	Parts []Part
}

// Lookup returns a variable's value for the request at hand; "" where there is none.
type Lookup interface {
	Lookup(v Var, name string) string
}
