package platform

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// certificates reads the file that -registry-ca names.
func certificates(v *values) []*x509.Certificate {
	_, all := certificateFile(v, "registry-ca")
	return all
}

// runCertificates reads the file that -ca-cert names, as it is.
func runCertificates(v *values) []byte {
	data, _ := certificateFile(v, "ca-cert")
	if len(data) > maxSecret {
		v.fail(fmt.Errorf("%s: %s is larger than the %d bytes that BuildKit takes", v.source["ca-cert"], v.path("ca-cert"), maxSecret))
	}
	return data
}

// certificateFile reads and parses a file of PEM certificates, if one is named.
// One that is no certificate is found here, before anything relies on it.
func certificateFile(v *values, flag string) ([]byte, []*x509.Certificate) {
	file := v.path(flag)
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", v.source[flag], err))
		return nil, nil
	}
	var all []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			v.fail(fmt.Errorf("%s: %s holds a %s, where only certificates belong", v.source[flag], file, block.Type))
			return nil, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			v.fail(fmt.Errorf("%s: %s: certificate %d: %w", v.source[flag], file, len(all)+1, err))
			return nil, nil
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		v.fail(fmt.Errorf("%s: %s holds no certificate in PEM form", v.source[flag], file))
	}
	return data, all
}
