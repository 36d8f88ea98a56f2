#!/bin/sh
# Makes all certificates anew, valid for a hundred years. Needs OpenSSL.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
touch "$work/index.txt"
cat >"$work/ca.cnf" <<END
[ca]
default_ca = tests
[tests]
database = $work/index.txt
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
default_startdate = 20260101000000Z
default_enddate = 21260101000000Z
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
extendedKeyUsage = clientAuth
END

make() { # file, common name, extensions, how to sign
  file=$1 name=$2 extensions=$3
  shift 3
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
    -keyout "$file.key" -out "$work/$file.csr"
  openssl ca -batch -notext -config "$work/ca.cnf" -extensions "$extensions" \
    -in "$work/$file.csr" -out "$file.pem" "$@"
}

authority() {
  make "$1" "$2" authority -selfsign -keyfile "$1.key"
}

certificate() {
  make "$1" "$2" "$3" -cert "$4.pem" -keyfile "$4.key"
}

authority authority "authority"
authority other-authority "another authority"
certificate server "server" server authority
certificate renewed-server "renewed server" server authority
certificate client "orders" client authority
certificate strange-client "orders" client other-authority
chmod 644 ./*.key
