package dockerfile

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestLintUser guards that the user is given back, in a way that works for
// images whose user has no group (image_extension.md, "Dockerfile
// Requirements", on user_id and group_id).
func TestLintUser(t *testing.T) {
	checkRule(t, RuleUserRoot, []lintCase{
		{kind: KindRun, text: base + "USER root\nRUN true\n", lines: []int{3}},
		{kind: KindRun, text: base + "USER 1000\nUSER 00:0\n", lines: []int{4}},
		{kind: KindRun, text: base + "ARG u=1000\nUSER ${u}\n", args: []Arg{{"u", "root"}}, lines: []int{4}},
		{kind: KindRun, text: base + "ENV u=0\nARG u=1000\nUSER ${u}\n", lines: []int{5}},
		{text: base + "USER root\n", lines: []int{3}},
		{kind: KindRun, text: base + "USER root\nRUN true\n" + reset},
		{kind: KindRun, text: base + "ARG u=root\nUSER ${u}\n", args: []Arg{{"u", "1000"}}},
		{kind: KindRun, text: base + "ARG user_id=0\nUSER ${user_id}\n"},
		{kind: KindRun, text: base + "USER ${BASE_USER:-root}\n"},
		{kind: KindRun, text: base + "USER rooty\n"},
		{kind: KindRun, text: base + "# check=skip=user-root\nUSER root\n"},
	})
	checkRule(t, RuleUserGroupEmpty, []lintCase{
		{text: base + "ARG user_id\nARG group_id\nUSER ${user_id}:${group_id}\n", lines: []int{5}},
		{text: base + "ARG user_id group_id\nUSER $user_id:$group_id\n", lines: []int{4}},
		{text: base + reset},
		{text: base + "ARG user_id\nARG group_id=1000\nUSER ${user_id}:${group_id}\n"},
		{text: base + "ARG user_id\nARG group_id\nUSER ${user_id}:${group_id:-1000}\n"},
		{text: base + "USER 1000:1000\n"},
	})
}

// TestLintBuildID guards build_id: declared with the default 0, and as late as
// can be, since all below it is built each time.
func TestLintBuildID(t *testing.T) {
	checkRule(t, RuleBuildIDEarly, []lintCase{
		{text: base + "ARG build_id=0\nRUN echo 1\nRUN apt-get update && apt-get install -y x\n", lines: []int{3}},
		{text: base + "ARG a=1 \\\n  build_id=0\nRUN <<E\nset -e\ncurl -fsS http://x\nE\n", lines: []int{4}},
		{text: base + "RUN apt-get install -y x\nARG build_id=0\nRUN echo ${build_id}\n"},
		{text: base + "ARG build_id=0\nRUN echo ${build_id} && apt-get update\n"},
		{text: base + "ARG build_id=0\nRUN echo apt-get install x; echo 'curl y'\n"},
		{text: base + "ARG other=0\nRUN curl x\n"},
	})
	checkRule(t, RuleBuildIDDefault, []lintCase{
		{text: base + "ARG build_id\n", lines: []int{3}},
		{text: base + "ARG build_id=1\n", lines: []int{3}},
		{text: base + "ARG build_id=0\n"},
		{text: base + "ARG build_id=\"0\"\n"},
		{text: "ARG base_image\nARG build_id=0\nFROM ${base_image}\nARG build_id\n"},
	})
}

// TestLintPackageLists guards that package lists do not stay in the image.
func TestLintPackageLists(t *testing.T) {
	cached := base + "RUN --mount=type=cache,target=%s %s\n"
	checkRule(t, RulePackageLists, []lintCase{
		{text: base + "RUN apt-get update && apt-get install -y x\n", lines: []int{3}},
		{text: base + "RUN set -e \\\n && DEBIAN_FRONTEND=noninteractive apt-get -o a=b update \\\n && true\n", lines: []int{3}},
		{text: base + "RUN set -e \\\n && apt-get update \\\n && true\n", lines: []int{4}},
		{text: base + "RUN rm -rf /var/lib/apt/lists/* && apt update\n", lines: []int{3}},
		{text: base + "RUN apt-get update\nRUN apt-get install -y x\nRUN rm -rf /var/lib/apt/lists/*\n", lines: []int{3}},
		{text: base + "RUN apt-get install -y x\n", lines: []int{3}},
		{text: base + "RUN bash -c 'apt-get update'\n", lines: []int{3}},
		{text: base + "RUN [\"/usr/bin/apt-get\", \"update\"]\n", lines: []int{3}},
		{text: base + "RUN <<E\nif true; then\n  apt-get update\nfi\nE\n", lines: []int{5}},
		{text: base + "RUN apk add x\n", lines: []int{3}},
		{text: base + "RUN dnf -y install x && microdnf install y\n", lines: []int{3}},
		{text: base + "RUN zypper -n in x\n", lines: []int{3}},
		{text: fmt.Sprintf(cached, "/var/cache/apt", "apt-get update"), lines: []int{3}},
		{text: base + "RUN apt-get update && apt-get install -y x && rm -rf /var/lib/apt/lists/*\n"},
		{text: base + "RUN apt-get update && apt-get install -y x && rm -rf /var/lib/{apt,dpkg}/ /x\n"},
		{text: base + "RUN apt-get update && apt-get distclean\n"},
		{text: base + "RUN apt-get install -y ./x.deb\n"},
		{text: base + "RUN apk add --no-cache x\nRUN apk -U add y && rm -rf /var/cache/apk/*\n"},
		{text: base + "RUN dnf -y install x && dnf clean all\n"},
		{text: base + "RUN zypper in x && zypper clean -a\n"},
		{text: fmt.Sprintf(cached, "/var/lib/apt", "apt-get update && apt-get install -y x")},
		{text: base + "RUN --mount=type=cache,target=/var/cache/dnf --mount=type=tmpfs,target=/tmp dnf install x\n"},
		{text: base + "RUN echo apt-get update # apt-get update\nRUN cat <<E >/x\napt-get update\nE\n"},
		{text: base + "RUN <<E\n#!/usr/bin/env python3\napt-get update\nE\n"},
		{text: base + "RUN <<E\ncat <<X >/x\napt-get update\nX\nE\n"},
	})
}

// TestLintRebasable guards the label by which a run image says that its base can
// be exchanged.
func TestLintRebasable(t *testing.T) {
	checkRule(t, RuleRebasable, []lintCase{
		{kind: KindRun, text: base + "RUN true\n", lines: []int{2}},
		{kind: KindRun, text: base + "RUN true\nLABEL other=1\n", lines: []int{2}},
		{kind: KindRun, text: base + "RUN true\nLABEL a=b \"io.buildpacks.rebasable\"=\"false\"\n"},
		{kind: KindRun, text: "FROM debian:12\n"},
		{text: base + "RUN true\n"},
	})
}

// TestLintArgsNotGiven guards that what is used has a value.
func TestLintArgsNotGiven(t *testing.T) {
	checkRule(t, RuleArgNotGiven, []lintCase{
		{text: base + "ARG packages\nRUN set -e; \\\n  install ${packages}\nRUN echo $packages\n", lines: []int{5}},
		{text: base + "USER ${user_id}\n", lines: []int{3}},
		{text: base + "RUN echo $build_id\n", lines: []int{3}},
		{text: base + "RUN echo $given\n", args: []Arg{{"given", "1"}}, lines: []int{3}},
		{text: base + "COPY $source /x\n", lines: []int{3}},
		{text: base + "COPY <<E /x\necho $1\nE\n", lines: []int{4}},
		{text: "ARG base_image\nARG version=1\nFROM ${base_image}\nENV V=${version}\n", lines: []int{4}},
		{text: base + "ENV A=$B B=1\n", lines: []int{3}},
		{kind: KindRun, text: "FROM debian${suffix}:12\n", lines: []int{1}},
		{text: base + "ARG packages\nRUN install ${packages}\n", args: []Arg{{"packages", "1"}}},
		{text: base + "ARG packages=x\nENV A=$packages B=${nobody:-1} C=${nobody:+$packages}\nLABEL l=$A\n"},
		{text: base + "RUN for f in a b; do x=$(date); echo $f $x $HOME $own; done\n"},
		{text: base + "ARG packages\nRUN packages=1; echo $packages\n"},
		{text: base + "ARG packages\nRUN echo '$packages' \\$packages ${packages:-1}\n"},
		{text: base + "ENV PATH=/x:$PATH LD_LIBRARY_PATH=/y:$LD_LIBRARY_PATH Z='$z'\n"},
		{text: base + "ARG TARGETARCH\nARG http_proxy\nRUN echo $TARGETARCH $http_proxy\n"},
		{text: "ARG base_image\nARG version=1\nFROM ${base_image}\nARG version\nENV V=${version}\n"},
		{text: base + "COPY <<'E' /x\necho $1 \"\nE\n"},
		{text: base + reset},
	})
}

// TestLintPlatformDirectories guards that nothing is written where it does not
// last (image_extension.md, "Dockerfile Requirements").
func TestLintPlatformDirectories(t *testing.T) {
	checkRule(t, RulePlatformDirectory, []lintCase{
		{text: base + "COPY a /workspace\n", lines: []int{3}},
		{text: base + "ARG to=/layers\nADD a ${to}/b/\n", lines: []int{4}},
		{text: base + "WORKDIR /workspace\nCOPY a b\n", lines: []int{4}},
		{text: base + "RUN true && \\\n  mkdir -p /platform/env\n", lines: []int{4}},
		{text: base + "RUN echo x >/workspace/y\n", lines: []int{3}},
		{text: base + "RUN cp /a /workspace/\nRUN tar -xz -C /layers -f /a\nRUN curl -o /workspace/x y\n", lines: []int{3, 4, 5}},
		{text: base + "RUN sed -i s/a/b/ /workspace/x\n", lines: []int{3}},
		{text: base + "COPY a /workspaces\nCOPY /workspace /b\nRUN cp -r /workspace/x /y && cat /layers/x >/z && ln -s /workspace /app\n"},
		{text: base + "COPY a ${UNKNOWN:-/workspace}\n"},
		{text: base + "RUN sed s/a/b/ /workspace/x; tar -c -C /workspace . >/x; echo rm /layers/x\n"},
	})
}

// TestLintBuildKit guards the rules of BuildKit that need nothing but its
// parser.
func TestLintBuildKit(t *testing.T) {
	checkRule(t, ruleStageNameCasing, []lintCase{
		{text: "ARG base_image\nFROM ${base_image} AS Base\n", lines: []int{2}},
		{text: "ARG base_image\nFROM ${base_image} AS base\n"},
	})
	checkRule(t, ruleFromAsCasing, []lintCase{
		{text: "ARG base_image\nFROM ${base_image} as x\n", lines: []int{2}},
		{text: "ARG base_image\nfrom ${base_image} as x\n"},
	})
	checkRule(t, ruleEmptyContinuation, []lintCase{
		{text: base + "RUN a \\\n\n  b\n", lines: []int{5}},
		{text: base + "RUN a \\\n  b\n\n"},
	})
	checkRule(t, ruleInstructionCasing, []lintCase{
		{text: base + "run a\nRun b\nRUN c\n", lines: []int{3, 4}},
		{text: "arg base_image\nfrom ${base_image}\nrun a\nRUN c\n", lines: []int{4}},
		{text: base + "RUN a\n"},
	})
	checkRule(t, ruleLegacyKeyValue, []lintCase{
		{text: base + "ENV a b c\nLABEL a b\n", lines: []int{3, 4}},
		{text: base + "ENV a=b c=\"d e\"\n"},
	})
	checkRule(t, ruleRelativeWorkdir, []lintCase{
		{text: base + "WORKDIR a\n", lines: []int{3}},
		{text: base + "WORKDIR /a\nWORKDIR b\n"},
		{text: base + "ARG d=/a\nWORKDIR ${d}\n"},
	})
	checkRule(t, RuleInstructionDiscouraged, []lintCase{
		{text: base + "CMD true\nMAINTAINER me\n", lines: []int{3, 4}},
		{text: base + "SHELL [\"/bin/sh\", \"-c\"]\n"},
	})
}

// TestRulesAreDocumented guards that the table of rules has every rule with its
// severity, and an example of each.
func TestRulesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/generator-check.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, rule := range Rules() {
		if seen[rule.ID] {
			t.Errorf("two rules are %s", rule.ID)
		}
		seen[rule.ID] = true
		for _, part := range []string{fmt.Sprintf("| `%s` | %s |", rule.ID, rule.Severity), fmt.Sprintf("### %s\n", rule.ID)} {
			if strings.Count(string(page), part) != 1 {
				t.Errorf("docs/generator-check.md has %q %d times, want once", part, strings.Count(string(page), part))
			}
		}
	}
}
