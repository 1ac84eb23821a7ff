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
	VarServerAddr                // $server_addr: the address that the client reached
	VarUpstreamName              // $proxy_upstream_name: namespace-service-port
	VarSSLClientCert             // $ssl_client_escaped_cert: the client's certificate, URL-encoded PEM
	VarSSLServerName             // $ssl_server_name: the name of SNI
	VarHostname                  // $hostname: the node's name
	VarProxyProtocolAddr         // $proxy_protocol_addr

	// Those that follow are known when a request has been answered: they occur in formats of logs alone.

	VarTimeLocal               // $time_local
	VarTimeISO8601             // $time_iso8601
	VarRequestLine             // $request
	VarStatus                  // $status
	VarBodyBytesSent           // $body_bytes_sent
	VarBytesSent               // $bytes_sent
	VarRequestLength           // $request_length
	VarRequestTime             // $request_time
	VarUpstreamAddr            // $upstream_addr
	VarUpstreamStatus          // $upstream_status
	VarUpstreamConnectTime     // $upstream_connect_time
	VarUpstreamHeaderTime      // $upstream_header_time
	VarUpstreamResponseTime    // $upstream_response_time
	VarUpstreamResponseLength  // $upstream_response_length
	VarAlternativeUpstreamName // $proxy_alternative_upstream_name: that of a canary
	VarConnection              // $connection: a number
	VarConnectionRequests      // $connection_requests
	VarPipe                    // $pipe
	VarPID                     // $pid
	VarSentHeader              // $sent_http_NAME: a header of the answer
	VarUpstreamHeader          // $upstream_http_NAME: a header of the backend's answer
	VarLocationPath            // $location_path
	VarProtocol                // $protocol: TCP or UDP, in the log of streams
	VarBytesReceived           // $bytes_received, in the log of streams
	VarSessionTime             // $session_time, in the log of streams
	VarUpstreamBytesSent       // $upstream_bytes_sent, in the log of streams
	VarUpstreamBytesReceived   // $upstream_bytes_received, in the log of streams
	VarRealIPRemoteAddr        // $realip_remote_addr: the address before PROXY protocol or X-Forwarded-For
)

// Part is a piece of a Text: a literal, or a variable if Var is not VarNone.
type Part struct {
	Literal string
	Var     Var
	// Name is the parameter of VarHeader, VarSentHeader and VarUpstreamHeader (lower case, with "-"), VarArg, VarCookie (as written) and VarCapture.
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
