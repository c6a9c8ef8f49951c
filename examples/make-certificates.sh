#!/bin/sh
# Makes an authority and certificates for usbredir-mtp and for QEMU, in the files that QEMU's tls-creds-x509 looks for.
# Usage: make-certificates.sh FOLDER HOST…   (HOST: names or addresses that the listening end is reached by)
set -eu
[ $# -ge 2 ] || { echo "usage: $0 FOLDER HOST…" >&2; exit 2; }
folder=$1
shift
days=3650
names=
for host in "$@"; do
    case $host in
    *:*) names="$names,IP:$host" ;;
    *[!0-9.]*) names="$names,DNS:$host" ;;
    *) names="$names,IP:$host" ;;
    esac
done
umask 077
mkdir -p "$folder/server" "$folder/client"
cd "$folder"

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

# certificate END SUBJECT USAGE NAMES
certificate() {
    key "$1/$1-key.pem"
    extensions=$(mktemp)
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=$3"
        [ -z "$4" ] || echo "subjectAltName=$4"
    } >"$extensions"
    openssl req -new -key "$1/$1-key.pem" -subj "/CN=$2" |
        openssl x509 -req -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days $days -extfile "$extensions" \
            -out "$1/$1-cert.pem" 2>/dev/null
    rm "$extensions"
    cp ca-cert.pem "$1/ca-cert.pem"
}

if [ ! -e ca-key.pem ]; then
    key ca-key.pem
    openssl req -x509 -new -key ca-key.pem -subj "/CN=usbredir authority" -days $days -out ca-cert.pem \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
fi
certificate server "$1" serverAuth "${names#,}"
certificate client "$(hostname)" clientAuth ""
echo "$folder: server/ for the end that listens, client/ for the one that connects"
