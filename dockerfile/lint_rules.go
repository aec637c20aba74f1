package dockerfile

// Severity tells what must be changed from what should be.
type Severity string

// The severities of findings.
const (
	// SeverityError is for what generation or extension refuses.
	SeverityError Severity = "error"
	// SeverityWarning is for what works, and is not good.
	SeverityWarning Severity = "warning"
)

// Rule is one thing that is looked for in what an extension generated.
type Rule struct {
	// ID names the rule in reports. It never changes.
	ID       string
	Severity Severity
	// suggestion says what to write instead wherever the rule is broken.
	suggestion string
	// buildkit is what BuildKit calls a rule of its own.
	buildkit string
}

// The rules that what an extension generates must not break
// (image_extension.md, "Dockerfile Requirements", "Context Folders" and
// "extend-config.toml (TOML)").
var (
	RuleSyntax        = Rule{ID: "dockerfile-syntax", Severity: SeverityError, suggestion: "write the instruction as the Dockerfile reference has it"}
	RuleBuildPreamble = Rule{ID: "build-preamble", Severity: SeverityError,
		suggestion: "let the file begin with `ARG base_image`, and the next line be `FROM ${base_image}`"}
	RuleFromMissing   = Rule{ID: "from-missing", Severity: SeverityError, suggestion: "begin with `ARG base_image` and `FROM ${base_image}`"}
	RuleFromSeveral   = Rule{ID: "from-several", Severity: SeverityError, suggestion: "take files of other images with `COPY --from=IMAGE`, and have one FROM"}
	RuleFromBaseImage = Rule{ID: "from-base-image", Severity: SeverityError,
		suggestion: "write `FROM ${base_image}`; did the shell expand ${base_image}? Quote the end word of its here-document: cat <<'EOF'"}
	RuleFromImage = Rule{ID: "from-image", Severity: SeverityError,
		suggestion: "write `FROM ${base_image}`, or the name of an image in a registry whose args all have a value"}
	RuleConfigSyntax = Rule{ID: "config-syntax", Severity: SeverityError,
		suggestion: "write each arg as [[build.args]] or [[run.args]] with name = \"...\" and value = \"...\""}
	RuleArgName        = Rule{ID: "arg-name", Severity: SeverityError, suggestion: "give the arg a name = \"...\""}
	RuleArgReserved    = Rule{ID: "arg-reserved", Severity: SeverityError, suggestion: "leave the arg out, or give it another name"}
	RuleFileRefused    = Rule{ID: "file-refused", Severity: SeverityError, suggestion: "generate a regular file, or a link to one in the same output, of at most 4 MiB"}
	RuleContextRefused = Rule{ID: "context-refused", Severity: SeverityError,
		suggestion: "let the context be a directory with nothing in it but directories, regular files, and relative links that stay within the output"}
	RuleContextConflict = Rule{ID: "context-conflict", Severity: SeverityError, suggestion: "generate context alone, or context.build and context.run"}
)

// The rules about what works, and is not good.
var (
	RuleInstructionDiscouraged = Rule{ID: "instruction-discouraged", Severity: SeverityWarning,
		suggestion: "use only ADD, ARG, COPY, ENV, LABEL, RUN, SHELL, USER and WORKDIR"}
	RuleUserRoot = Rule{ID: "user-root", Severity: SeverityWarning,
		suggestion: "end with `ARG user_id`, `ARG group_id` and `USER ${user_id}${group_id:+:${group_id}}`"}
	RuleUserGroupEmpty = Rule{ID: "user-group-empty", Severity: SeverityWarning,
		suggestion: "write `USER ${user_id}${group_id:+:${group_id}}`"}
	RuleBuildIDEarly   = Rule{ID: "build-id-early", Severity: SeverityWarning}
	RuleBuildIDDefault = Rule{ID: "build-id-default", Severity: SeverityWarning, suggestion: "write `ARG build_id=0`"}
	RulePackageLists   = Rule{ID: "package-lists", Severity: SeverityWarning}
	RuleRebasable      = Rule{ID: "rebasable-missing", Severity: SeverityWarning,
		suggestion: "if the new layers may stay on another base image, add `LABEL io.buildpacks.rebasable=true`, else `LABEL io.buildpacks.rebasable=false`"}
	RuleArgNotGiven       = Rule{ID: "arg-not-given", Severity: SeverityWarning}
	RuleArgNotDeclared    = Rule{ID: "arg-not-declared", Severity: SeverityWarning}
	RulePlatformDirectory = Rule{ID: "platform-directory", Severity: SeverityWarning,
		suggestion: "write elsewhere; what buildpacks are to find belongs in a directory of the image's own, such as /opt"}
	RuleFileName = Rule{ID: "file-name", Severity: SeverityWarning}
)

// The rules of BuildKit that its parser alone can judge. Its others show when an
// image is extended.
var (
	ruleStageNameCasing = Rule{ID: "stage-name-casing", Severity: SeverityWarning, buildkit: "StageNameCasing",
		suggestion: "write the name after AS in lower case, or leave it out"}
	ruleFromAsCasing = Rule{ID: "from-as-casing", Severity: SeverityWarning, buildkit: "FromAsCasing",
		suggestion: "write FROM and AS in the same case"}
	ruleEmptyContinuation = Rule{ID: "no-empty-continuation", Severity: SeverityWarning, buildkit: "NoEmptyContinuation",
		suggestion: "remove the empty line within the instruction"}
	ruleInstructionCasing = Rule{ID: "consistent-instruction-casing", Severity: SeverityWarning, buildkit: "ConsistentInstructionCasing",
		suggestion: "write all instructions in upper case"}
	ruleLegacyKeyValue = Rule{ID: "legacy-key-value-format", Severity: SeverityWarning, buildkit: "LegacyKeyValueFormat",
		suggestion: "write key=value, with the value in quotes if it has spaces"}
	ruleRelativeWorkdir = Rule{ID: "workdir-relative-path", Severity: SeverityWarning, buildkit: "WorkdirRelativePath",
		suggestion: "write an absolute path"}
)

// Rules are all rules, errors first.
func Rules() []Rule {
	return []Rule{
		RuleSyntax, RuleBuildPreamble, RuleFromMissing, RuleFromSeveral, RuleFromBaseImage, RuleFromImage,
		RuleConfigSyntax, RuleArgName, RuleArgReserved, RuleFileRefused, RuleContextRefused, RuleContextConflict,
		RuleInstructionDiscouraged, RuleUserRoot, RuleUserGroupEmpty, RuleBuildIDEarly, RuleBuildIDDefault,
		RulePackageLists, RuleRebasable, RuleArgNotGiven, RuleArgNotDeclared, RulePlatformDirectory, RuleFileName,
		ruleStageNameCasing, ruleFromAsCasing, ruleEmptyContinuation, ruleInstructionCasing, ruleLegacyKeyValue,
		ruleRelativeWorkdir,
	}
}
