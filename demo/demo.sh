#!/bin/sh
# Starts a cluster of three nodes, deploys an application from an image that
# needs no registry, and sends it requests on every way in.
#   demo.sh MINATO IMAGES
set -eu
minato=$1
images=$2
here=$(dirname "$0")
requests=12

kubectl() { "$minato" kubectl "$@"; }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# ask WHAT COMMAND...: runs the command some times and counts who answered.
ask() {
	what=$1
	shift
	i=0
	while [ $i -lt $requests ]; do
		"$@" || exit 1
		i=$((i + 1))
	done | sort | uniq -c | while read -r count line; do
		printf '  %-44s %2d of %d: %s\n' "$what" "$count" "$requests" "$line"
	done
}

say 'Starting a cluster of three nodes'
"$minato" up --nodes 3
"$minato" image load "$images/whoami.tar"

say 'Deploying three Pods behind a Service'
kubectl apply -f "$here/demo.yaml"
kubectl rollout status deployment whoami --timeout=60s
kubectl get pods -l app=whoami -o wide

pod=$(kubectl get pods -l app=whoami -o 'jsonpath={.items[0].metadata.name}')
ip=$(kubectl get service whoami -o 'jsonpath={.spec.clusterIP}')

say 'Who answers'
ask 'from a Pod, http://whoami.default' kubectl exec "$pod" -- /whoami get http://whoami.default
ask "from a Pod, http://$ip" kubectl exec "$pod" -- /whoami get "http://$ip"
for node in 172.30.0.11 172.30.0.12 172.30.0.13; do
	ask "from outside, http://$node:30080" curl -sS -m 5 "http://$node:30080"
done

cat <<EOF

The cluster stays up. Use it:
  $minato kubectl get pods -A -o wide
  curl http://172.30.0.11:30080
  ip netns exec minato-node-1 ss -ltn      # look into a node
  $minato status
Stop it and keep its data:   $minato down
Delete it with all its data: $minato delete
EOF
