// Package unavailable holds the one error that every engine answers with when
// it cannot run or cannot be reached. It stands apart from package engine, which
// re-exports it, so that the engines need not import their own caller.
package unavailable

import (
	"errors"
	"strings"
)

// Error says that no engine can be had at an address, and lists everything that
// stands in the way: not only the first thing found.
type Error struct {
	// Address is the address that was asked for, or several with commas; empty for an
	// engine of this program.
	Address string
	// InPlace: it is the in-place engine that was asked for, not the embedded one.
	InPlace bool
	// Missing has a line for each thing that is missing: what it is, and what to
	// do about it. It is never empty.
	Missing []string
	// Err is the cause, where there is one.
	Err error

	several, own bool
}

// JoinOwn makes one error of those that the engines of this program gave.
func JoinOwn(embedded, inPlace *Error) *Error {
	joined := &Error{own: true, Err: errors.Join(embedded.Err, inPlace.Err)}
	for _, line := range embedded.Missing {
		joined.Missing = append(joined.Missing, "embedded: "+line)
	}
	for _, line := range inPlace.Missing {
		joined.Missing = append(joined.Missing, "in place: "+line)
	}
	return joined
}

// Join makes one error of those that several addresses gave.
func Join(all []*Error) *Error {
	joined := &Error{several: true}
	var addresses []string
	var causes []error
	for _, e := range all {
		addresses = append(addresses, e.Address)
		causes = append(causes, e.Err)
		joined.Missing = append(joined.Missing, e.Address+": "+strings.Join(e.Missing, "; "))
	}
	joined.Address, joined.Err = strings.Join(addresses, ","), errors.Join(causes...)
	return joined
}

var _ error = (*Error)(nil)

// Error lists what is missing, a line each.
func (e *Error) Error() string {
	var text strings.Builder
	switch {
	case e.several:
		text.WriteString("none of the BuildKit engines can be used:")
	case e.own:
		text.WriteString("no BuildKit engine can run here:")
	case e.InPlace:
		text.WriteString("the in-place BuildKit engine cannot work here:")
	case e.Address == "":
		text.WriteString("the embedded BuildKit engine cannot run here:")
	default:
		text.WriteString("the BuildKit engine at " + e.Address + " cannot be used:")
	}
	for _, line := range e.Missing {
		text.WriteString("\n  - " + line)
	}
	if e.Address == "" {
		text.WriteString("\nOr name the address of a BuildKit daemon that is running elsewhere.")
	}
	return text.String()
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether err, or what it wraps, is an Error.
func Is(err error) bool {
	var e *Error
	return errors.As(err, &e)
}
