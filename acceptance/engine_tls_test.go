package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// ca is the file with the authority's own certificate.
	ca string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert = &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.ca, _, a.key = a.sign(t, "authority", a.cert)
	return a
}

// issue makes a certificate that is made out to a name, and returns the files with it
// and its key.
func (a *authority) issue(t *testing.T, name string, usage x509.ExtKeyUsage) (cert, key string) {
	t.Helper()
	cert, key, _ = a.sign(t, name, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{usage}})
	return cert, key
}

func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (certFile, keyFile string, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	signer := a.key
	if signer == nil {
		signer = key // the authority's own
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	check(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+"-key.pem")
	check(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	check(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return certFile, keyFile, key
}

// freeAddress is a TCP address of this machine that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// awaitListener waits until somebody listens at an address.
func awaitListener(t *testing.T, address string) {
	t.Helper()
	eventually(t, "somebody listens at "+address, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// TLS with client certificates. The daemon demands a certificate, and
// its own is made out to a name that is not in its address.
func TestTLS(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	serverCert, serverKey := ours.issue(t, "builder.internal", x509.ExtKeyUsageServerAuth)
	clientCert, clientKey := ours.issue(t, "client", x509.ExtKeyUsageClientAuth)
	otherCert, otherKey := other.issue(t, "stranger", x509.ExtKeyUsageClientAuth)
	address := freeAddress(t)
	startBuildkitd(t, "--addr", "tcp://"+address, "--tlscacert", ours.ca, "--tlscert", serverCert, "--tlskey", serverKey)
	awaitListener(t, address)

	base := "oci:" + smallBase(t, nil)
	newTLSScene := func(t *testing.T, env map[string]string) *scene {
		s := newScene(t, "run", base, engine{address: "tcp://" + address})
		s.step("one", "RUN echo secured >/tmp/x", "USER 7")
		for name, value := range env {
			s.env["CNB_BUILDKIT_TLS_"+name] = value
		}
		return s
	}
	good := map[string]string{"CA": ours.ca, "CERT": clientCert, "KEY": clientKey, "SERVER_NAME": "builder.internal"}
	s := newTLSScene(t, good)
	if said := s.succeed().stdout; !strings.Contains(said, "tcp://"+address+" with TLS") {
		t.Errorf("the log does not say that TLS is used:\n%s", said)
	}
	if got := s.files(openLayout(t, base[len("oci:"):]))["tmp/x"]; got != "secured\n" {
		t.Errorf("the result is %q", got)
	}
	s = newTLSScene(t, nil)
	s.succeed("-buildkit-tls-ca", ours.ca, "-buildkit-tls-cert", clientCert, "-buildkit-tls-key", clientKey, "-buildkit-tls-server-name", "builder.internal")

	for name, test := range map[string]struct {
		change map[string]string
		says   string
	}{
		"no certificate":       {map[string]string{"CERT": "", "KEY": ""}, "certificate required"},
		"certificate of other": {map[string]string{"CERT": otherCert, "KEY": otherKey}, "TLS failed: remote error"},
		"authority of other":   {map[string]string{"CA": other.ca}, "unknown authority"},
		"name of other":        {map[string]string{"SERVER_NAME": "else.internal"}, "not else.internal"},
		"name of the address":  {map[string]string{"SERVER_NAME": ""}, "127.0.0.1"},
		"no authority file":    {map[string]string{"CA": "/nonexistent.pem"}, "/nonexistent.pem: no such file"},
		"no PEM":               {map[string]string{"CA": "/etc/passwd"}, "/etc/passwd holds no certificate"},
		"key of another":       {map[string]string{"KEY": otherKey}, otherKey},
		"no TLS":               {map[string]string{"CA": "", "CERT": "", "KEY": "", "SERVER_NAME": ""}, "without TLS?"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTLSScene(t, good)
			for name, value := range test.change {
				s.env["CNB_BUILDKIT_TLS_"+name] = value
			}
			if o := s.fail(103, address, test.says); o.took > patience {
				t.Errorf("it took %v", o.took)
			}
		})
	}
}

// TLS with somebody who does not speak it is told as that.
func TestTLSWithoutIt(t *testing.T) {
	address := freeAddress(t)
	startBuildkitd(t, "--addr", "tcp://"+address)
	awaitListener(t, address)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, as far as the kernel is concerned
	check(t, err)
	defer silent.Close()
	for _, address := range []string{address, silent.Addr().String()} {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: "tcp://" + address})
		s.step("one", "RUN true", "USER 7")
		s.env["CNB_BUILDKIT_TLS_SERVER_NAME"] = "builder.internal"
		if o := s.fail(103, address, "TLS failed", "listens there, and with TLS?"); o.took > patience {
			t.Errorf("it took %v", o.took)
		}
	}
}
