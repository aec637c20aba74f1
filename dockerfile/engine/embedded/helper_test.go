//go:build linux

package embedded_test

// helperEnv names what the test binary is to be instead of a test.
const helperEnv = "GRAFT_ENGINE_TEST_HELPER"

func helperMain(role string) int { return 2 }
