package acceptance

import (
	"strings"
	"testing"
)

// proxyOfRun holds a password, which is nowhere to be found.
const proxyOfRun = "http://user:proxy-password-51aa@127.0.0.1:9"

// The proxy variables of the extender reach a RUN in both spellings. They are no
// part of the image, the log or the cache, and other values leave what is cached
// as it is.
func TestProxyVariables(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.env["CNB_LOG_LEVEL"] = "debug"
		s.env["HTTP_PROXY"] = proxyOfRun
		s.env["https_proxy"] = proxyOfRun
		s.env["NO_PROXY"] = "one.example,two.example"
		s.env["all_proxy"] = "socks5://127.0.0.1:9"
		s.env["FTP_PROXY"] = "http://127.0.0.1:10"
		s.step("one", "USER root", "RUN env | grep -i proxy | sort | tr a-z A-Z >/proxy", "ENV kept=$HTTP_PROXY", "USER 7")
		o := s.succeed()
		upper := strings.ToUpper(proxyOfRun)
		got := s.files(openLayout(t, base))["proxy"]
		for _, line := range []string{
			"ALL_PROXY=SOCKS5://127.0.0.1:9", "FTP_PROXY=HTTP://127.0.0.1:10", "HTTPS_PROXY=" + upper, "HTTP_PROXY=" + upper, "NO_PROXY=ONE.EXAMPLE,TWO.EXAMPLE",
		} {
			if strings.Count("\n"+got, "\n"+line+"\n") != 2 {
				t.Errorf("a RUN sees\n%swanted, twice, %s", got, line)
			}
		}
		checkNowhere(t, s, o, e, proxyOfRun)

		before := digest(t, s.image())
		for _, name := range []string{"HTTP_PROXY", "https_proxy", "NO_PROXY", "all_proxy", "FTP_PROXY"} {
			delete(s.env, name)
		}
		o = s.succeed()
		if got := digest(t, s.image()); got != before || len(o.cached()) == 0 {
			t.Errorf("without proxies the image is %v, and was %v: nothing came from the cache: %v", got, before, o)
		}
	})
}
