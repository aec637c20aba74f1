package dockerfile

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestLintIsBounded guards that a hostile Dockerfile of the greatest size is
// judged in bounded time and memory. The bound of memory is what the values of some
// would take if they were made; that of time is only a guard against hanging, since
// how long something takes is a matter of the machine and what else it does.
func TestLintIsBounded(t *testing.T) {
	const (
		heap  = 1 << 30
		hangs = 5 * time.Minute
	)
	doubling := func(instruction, first, second string) string {
		return instruction + " a=" + strings.Repeat("x", 4000) + "\n" +
			strings.Repeat(instruction+" "+second+"=$"+first+"$"+first+"\n"+instruction+" "+first+"=$"+second+"$"+second+"\n", 40)
	}
	nested := "${a//x/${a//x/${a//x/$a}}}"
	for name, text := range map[string]string{
		"env doubles":          base + doubling("ENV", "a", "b"),
		"arg doubles":          base + doubling("ARG", "a", "b"),
		"global arg doubles":   doubling("ARG", "a", "b") + "FROM x${a}\n",
		"replacements":         base + "ENV a=" + strings.Repeat("x", 4000) + "\nENV b=" + nested + "\n",
		"global replacements":  "ARG a=" + strings.Repeat("x", 4000) + "\nARG b=" + nested + "\nFROM x${b}\n",
		"uses in a word":       base + "ENV a=" + strings.Repeat("x", 4000) + "\nLABEL l=" + strings.Repeat("$a\\\n", 1<<18) + "\n",
		"uses in a heredoc":    base + "ENV a=" + strings.Repeat("x", 4000) + "\nCOPY <<E /x\n" + strings.Repeat("$a\n", 1<<20) + "E\n",
		"discouraged":          base + strings.Repeat("EXPOSE 80\n", 1<<16),
		"relative directories": base + "WORKDIR /a\n" + strings.Repeat("WORKDIR b\n", 1<<16),
		"reads":                base + "RUN <<E\n" + strings.Repeat("read ", 1<<18) + "\nE\n",
		"substitutions":        base + "RUN <<E\n" + strings.Repeat("\"$(", 1<<18) + "\nE\n",
	} {
		start := time.Now()
		lintText(KindRun, text, nil)
		spent := time.Since(start)
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory) // HeapSys never becomes less
		if memory.HeapSys > heap || spent > hangs {
			t.Errorf("%s: for %d bytes of text the heap grew to %d bytes, and it took %v", name, len(text), memory.HeapSys, spent)
		}
		t.Logf("%s: %d MB of heap, %v", name, memory.HeapSys>>20, spent)
	}
}
