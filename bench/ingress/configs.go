package main

// What the peers are told: to pass requests on with the addresses of clients in the usual header fields, over connections
// that are kept, with no log, and otherwise with their defaults.

const nginxConf = `daemon off;
worker_processes 1;
error_log stderr error;
pid {{.Dir}}/pid;
user root;
events { worker_connections 4096; }
http {
	access_log {{if .Logs}}{{.Logs}}{{else}}off{{end}};
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	server_names_hash_max_size 65536;
	server_names_hash_bucket_size 128;
	client_max_body_size 0;
	keepalive_requests 1000000000;
	tcp_nopush on;
	ssl_protocols TLSv1.2 TLSv1.3;
	upstream web { server {{.Backend}}; keepalive 320; keepalive_requests 10000; }
	upstream grpc { server {{.GRPCs}}; keepalive 320; keepalive_requests 10000; }
	proxy_http_version 1.1;
	proxy_request_buffering off;
	proxy_max_temp_file_size 0;
	proxy_set_header Connection "";
	proxy_set_header Host $http_host;
	proxy_set_header X-Request-ID $request_id;
	proxy_set_header X-Real-IP $remote_addr;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_set_header X-Forwarded-Host $http_host;
	proxy_set_header X-Forwarded-Port $server_port;
	proxy_set_header X-Forwarded-Proto $scheme;
	proxy_set_header X-Scheme $scheme;
	server {
		listen {{.HTTP}};
		server_name {{.Web}};
		location / { proxy_pass http://web; }
	}
{{range .Kinds}}	server {
		listen {{$.HTTPS}} ssl http2;
		server_name {{$.Host .}};
		ssl_certificate {{$.Certificates}}/{{.}}.crt;
		ssl_certificate_key {{$.Certificates}}/{{.}}.key;
		location / { proxy_pass http://web; }
	}
{{end}}	server {
		listen {{.HTTPS}} ssl http2;
		server_name {{.GRPC}};
		ssl_certificate {{.Certificates}}/ecdsa.crt;
		ssl_certificate_key {{.Certificates}}/ecdsa.key;
		location / { grpc_pass grpc://grpc; }
	}
{{range .Hosts}}	server {
		listen {{$.HTTP}};
		server_name {{.}};
{{range $.Paths}}		location {{.}} { proxy_pass http://web; }
{{end}}	}
{{end}}}
`

const haproxyCfg = `global
	nbthread 1
	maxconn 4096
	ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
	mode http
	timeout client 60s
	timeout server 60s
	timeout connect 5s
	option forwardfor
	http-reuse always
frontend plain
	bind {{.HTTP}}
	http-request set-header X-Forwarded-Proto http
	http-request set-header X-Forwarded-Host %[req.hdr(host)]
{{if .Hosts}}	use_backend %[base,lower,map_beg({{.Dir}}/routes.map,web)]
{{end}}	default_backend web
frontend secure
	bind {{.HTTPS}} ssl crt {{.Certificates}}/ecdsa.pem crt {{.Certificates}}/rsa.pem alpn h2,http/1.1
	http-request set-header X-Forwarded-Proto https
	http-request set-header X-Forwarded-Host %[req.hdr(host)]
	use_backend grpc if { req.hdr(host) -i {{.GRPC}} }
	default_backend web
backend web
	server one {{.Backend}}
backend grpc
	server one {{.GRPCs}} proto h2
`

const haproxyMap = `{{range $host := .Hosts}}{{range $.Paths}}{{$host}}{{.}} web
{{end}}{{end}}`

const traefikStatic = `global: {checkNewVersion: false, sendAnonymousUsage: false}
log: {level: ERROR}
entryPoints:
  plain: {address: "{{.HTTP}}"}
  secure: {address: "{{.HTTPS}}"}
providers:
  file: {filename: "{{.Dir}}/routes.yml", watch: false}
`

const traefikRoutes = `http:
  routers:
    web: {entryPoints: [plain], rule: "Host(` + "`{{.Web}}`" + `)", service: web}
{{range .Kinds}}    {{.}}: {entryPoints: [secure], rule: "Host(` + "`{{$.Host .}}`" + `)", service: web, tls: {}}
{{end}}    grpc: {entryPoints: [secure], rule: "Host(` + "`{{.GRPC}}`" + `)", service: grpc, tls: {}}
{{range $h, $host := .Hosts}}{{range $p, $path := $.Paths}}    many-{{$h}}-{{$p}}: {entryPoints: [plain], rule: "Host(` + "`{{$host}}`) && PathPrefix(`{{$path}}`" + `)", service: web}
{{end}}{{end}}  services:
    web: {loadBalancer: {servers: [{url: "http://{{.Backend}}"}]}}
    grpc: {loadBalancer: {servers: [{url: "h2c://{{.GRPCs}}"}]}}
tls:
  stores: {default: {defaultCertificate: {certFile: "{{.Certificates}}/ecdsa.crt", keyFile: "{{.Certificates}}/ecdsa.key"}}}
  certificates:
{{range .Kinds}}  - {certFile: "{{$.Certificates}}/{{.}}.crt", keyFile: "{{$.Certificates}}/{{.}}.key"}
{{end}}`

const caddyJSON = `{
	"admin": {"disabled": true},
	"logging": {"logs": {"default": {"level": "ERROR"}}},
	"apps": {
		"http": {"servers": {
			"plain": {"listen": ["{{.HTTP}}"], "automatic_https": {"disable": true}, "routes": [
				{{range $host := .Hosts}}{"match": [{"host": ["{{$host}}"]}], "handle": [{"handler": "subroute", "routes": [
					{{range $p, $path := $.Paths}}{{if $p}}, {{end}}{"match": [{"path": ["{{$path}}", "{{$path}}/*"]}], "handle": [{{template "web" $}}]}
				{{end}}]}]},
				{{end}}{"match": [{"host": ["{{.Web}}"]}], "handle": [{{template "web" .}}]}
			]},
			"secure": {"listen": ["{{.HTTPS}}"], "automatic_https": {"disable": true}, "tls_connection_policies": [{"default_sni": "{{.GRPC}}"}], "routes": [
				{{range .Kinds}}{"match": [{"host": ["{{$.Host .}}"]}], "handle": [{{template "web" $}}]},
				{{end}}{"match": [{"host": ["{{.GRPC}}"]}], "handle": [
					{"handler": "reverse_proxy", "transport": {"protocol": "http", "versions": ["h2c", "2"]}, "upstreams": [{"dial": "{{.GRPCs}}"}]}
				]}
			]}
		}},
		"tls": {"certificates": {"load_files": [
			{{range $i, $kind := .Kinds}}{{if $i}}, {{end}}{"certificate": "{{$.Certificates}}/{{$kind}}.crt", "key": "{{$.Certificates}}/{{$kind}}.key"}{{end}}
		]}}
	}
}
{{define "web"}}{"handler": "reverse_proxy", "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 320}}, "upstreams": [{"dial": "{{.Backend}}"}]}{{end}}`
