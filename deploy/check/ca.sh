# openssl believes the certificates that atoll ca makes, for what they are for.
source "$CHECK_LIB"
need openssl openssl

"$ATOLL" ca init islands --dir ca
"$ATOLL" ca issue tokyo/1 --dir ca --host 192.0.2.1 --host tokyo.example.org
openssl verify -x509_strict -CAfile ca/ca.pem -purpose sslserver -verify_ip 192.0.2.1 node.pem
openssl verify -x509_strict -CAfile ca/ca.pem -purpose sslclient \
	-verify_hostname tokyo.example.org node.pem
if openssl verify -CAfile ca/ca.pem -verify_hostname osaka.example.org node.pem; then
	fail "a name that the certificate does not carry is believed"
fi
equal "$(openssl pkey -in node-key.pem -pubout)" "$(openssl x509 -in node.pem -noout -pubkey)" \
	"the key's public half"
equal 600 "$(stat -c %a node-key.pem)" "mode of the node's key"
equal 600 "$(stat -c %a ca/ca-key.pem)" "mode of the CA's key"

"$ATOLL" ca init others --dir other
if openssl verify -CAfile other/ca.pem node.pem; then
	fail "another cluster's CA vouches for the node"
fi
