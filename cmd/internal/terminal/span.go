package terminal

import (
	"fmt"
	"time"
)

// units are what a span of time is counted in.
var units = [...]struct {
	length time.Duration
	name   string
}{
	{365 * 24 * time.Hour, "year"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"},
}

// Span is a span of time for people: "3 days", "1 minute", in the largest unit
// it has two of, or one; below a second it is "0 seconds".
func Span(d time.Duration) string {
	d = max(d, 0)
	for i, unit := range units {
		n := d / unit.length
		smallest := i == len(units)-1
		if n > 1 || n == 1 && (smallest || d-unit.length < units[i+1].length) || smallest {
			return counted(int64(n), unit.name)
		}
	}
	return ""
}

// Since is how long something has been so; "" when that is not known.
func Since(then, now time.Time) string {
	if then.IsZero() {
		return ""
	}
	return Span(now.Sub(then))
}

func counted(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// Clock is a time as people have it on their own clock, which is now's; of another
// day with the day.
func Clock(at, now time.Time) string {
	at = at.In(now.Location())
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format(time.TimeOnly)
	}
	return at.Format("Jan 2 15:04:05")
}
