package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// wanted says what the flags of a type take, in place of the parser's words.
var wanted = map[string]string{
	"int":            "a whole number such as 3",
	"int32":          "a whole number such as 3",
	"int64":          "a whole number such as 3",
	"uint":           "a whole number such as 3, not below 0",
	"uint16":         "a number from 0 to 65535",
	"uint32":         "a whole number such as 3, not below 0",
	"uint64":         "a whole number such as 3, not below 0",
	"float32":        "a number such as 0.5",
	"float64":        "a number such as 0.5",
	"duration":       "a duration such as 30s, 5m or 1h30m",
	"bool":           "true or false",
	"ip":             "an IP address such as 192.0.2.1",
	"ipSlice":        "IP addresses such as 192.0.2.1, with commas between",
	"ipNet":          "a range such as 192.0.2.0/24",
	"stringToString": "pairs such as key=value, with commas between",
	"stringSlice":    "values with commas between",
}

// flagError says which flag has which wrong value, and what it takes.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return usageError{fmt.Errorf("%w; `%s --help` lists the flags", err, cmd.CommandPath())}
	}
	flag := invalid.GetFlag()
	take, known := wanted[flag.Value.Type()]
	switch {
	case !known:
		// A type of our own, whose parser says what it takes.
		return usageError{fmt.Errorf("--%s %q: %w", flag.Name, invalid.GetValue(), invalid.Unwrap())}
	case errors.Is(invalid.Unwrap(), strconv.ErrRange):
		return usageError{fmt.Errorf("--%s %s: the number is out of range; give %s", flag.Name, invalid.GetValue(), take)}
	}
	return usageError{fmt.Errorf("--%s %q: give %s", flag.Name, invalid.GetValue(), take)}
}
