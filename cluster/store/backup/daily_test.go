package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gvlan/cluster/store/backup"
)

// days runs Daily on a clock of its own.
type days struct {
	t     *testing.T
	dir   string
	now   time.Time
	takes []time.Time
	fail  error
	idle  bool // no member here
}

func newDays(t *testing.T) *days {
	return &days{t: t, dir: filepath.Join(t.TempDir(), "backups"), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
}

// run is an agent that runs that long.
func (d *days) run(life time.Duration) {
	d.t.Helper()
	end := d.now.Add(life)
	err := backup.Daily{
		Dir: d.dir, Log: discard,
		Wants: func() bool { return !d.idle },
		Now:   func() time.Time { return d.now },
		Sleep: func(_ context.Context, wait time.Duration) bool {
			if d.now = d.now.Add(wait); d.now.After(end) {
				d.now = end
				return false
			}
			return true
		},
		Take: func(_ context.Context, path string) (backup.Manifest, error) {
			d.takes = append(d.takes, d.now)
			if d.fail != nil {
				return backup.Manifest{}, d.fail
			}
			return backup.Manifest{}, os.WriteFile(path, nil, 0o600)
		},
	}.Run(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
}

// kept are the ages of what is kept, in hours.
func (d *days) kept() (ages []int) {
	d.t.Helper()
	all, err := backup.List(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, k := range all {
		ages = append(ages, int(d.now.Sub(k.Time).Hours()))
	}
	return ages
}

func (d *days) want(ages ...int) {
	d.t.Helper()
	if got := d.kept(); !slices.Equal(got, ages) {
		d.t.Errorf("kept, by age in hours: %v, want %v", got, ages)
	}
}

func TestSevenDays(t *testing.T) {
	d := newDays(t)
	d.run(30 * time.Minute)
	d.want() // a start has better to do
	d.run(10*24*time.Hour + 2*time.Hour)
	d.want(1, 25, 49, 73, 97, 121, 145)
}

// Restarts neither starve it nor have it take more.
func TestRestarts(t *testing.T) {
	d := newDays(t)
	for range 12 {
		d.run(6 * time.Hour)
	}
	if len(d.takes) != 3 {
		t.Errorf("in three days of four starts each they were taken at %v", d.takes)
	}
}

// A clock that was wrong keeps nothing from being taken, nor what is new from
// being kept.
func TestWrongClock(t *testing.T) {
	d := newDays(t)
	d.now = d.now.AddDate(10, 0, 0)
	d.run(8 * 24 * time.Hour)
	d.now = d.now.AddDate(-10, 0, 0)
	d.run(2 * time.Hour)
	if ages := d.kept(); len(ages) != 7 || ages[6] != 1 {
		t.Errorf("kept, by age in hours: %v, want one of an hour and six of the future", ages)
	}
}

func TestWithoutAMember(t *testing.T) {
	d := newDays(t)
	d.idle = true
	d.run(48 * time.Hour)
	d.want()
	d.idle = false
	d.run(90 * time.Minute)
	d.want(0)
}

func TestAFullDisk(t *testing.T) {
	d := newDays(t)
	d.fail = errors.New("no space left")
	d.run(5 * time.Hour)
	if len(d.takes) != 5 {
		t.Errorf("tried at %v, want each hour", d.takes)
	}
	d.fail = nil
	d.run(2 * time.Hour)
	d.want(1)
}

// What others put there is theirs.
func TestOthersFiles(t *testing.T) {
	d := newDays(t)
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(d.dir, "gvlan-before-the-upgrade.tar")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.run(20 * 24 * time.Hour)
	if _, err := os.Stat(mine); err != nil || len(d.kept()) != 7 {
		t.Errorf("%v, kept %v", err, d.kept())
	}
}
