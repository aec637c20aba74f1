package platform

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// SignalError is the cause of a context that a signal cancelled.
type SignalError struct{ Signal os.Signal }

func (e *SignalError) Error() string { return fmt.Sprintf("stopped by signal: %v", e.Signal) }

func (e *SignalError) code() Code {
	if e.Signal == syscall.SIGTERM {
		return CodeTerminated
	}
	return CodeInterrupted
}

// SignalContext is a context that the first SIGINT or SIGTERM cancels, with a
// *SignalError as its cause. The second ends the process at once, as if nobody
// listened, for a person whose patience is at its end. The returned function
// stops listening.
func SignalContext(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-received:
			cancel(&SignalError{Signal: s})
			signal.Stop(received)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(received)
		cancel(nil)
	}
}
