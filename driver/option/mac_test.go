package option_test

import (
	"errors"
	"strings"
	"testing"

	"gvlan/driver/option"
)

func TestMACPrefix(t *testing.T) {
	for _, tt := range []struct{ value, want, refused string }{
		{value: "02", want: "02"},
		{value: "02:42", want: "02:42"},
		{value: "fe-ED-0A", want: "fe:ed:0a"},
		{value: "a6:00:00", want: "a6:00:00"},

		{value: "", refused: "want one to three bytes in hexadecimal, as 02:42"},
		{value: "2:42", refused: "want one to three bytes in hexadecimal"},
		{value: "0242", refused: "want one to three bytes in hexadecimal"},
		{value: "02:", refused: "want one to three bytes in hexadecimal"},
		{value: "02:4x", refused: "want one to three bytes in hexadecimal"},
		{value: "+2", refused: "want one to three bytes in hexadecimal"},
		{value: "02:42:ac:11", refused: "want one to three bytes, as 02:42: the others follow from the address"},
		{value: "02:42:ac:11:00:02", refused: "want one to three bytes, as 02:42"},
		{value: "03", refused: "an odd first byte makes it that of a group (multicast)"},
		{value: "01:00:5e", refused: "an odd first byte makes it that of a group (multicast)"},
		{value: "00:50:56", refused: "that belongs to a maker of network cards: give one whose first byte ends in 2, 6, a or e"},
	} {
		t.Run(tt.value, func(t *testing.T) {
			o, err := option.Parse(map[string]string{"parent": "eth0", "mac-prefix": tt.value})
			if tt.refused != "" {
				if !errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), "-o mac-prefix=") || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %v, want a refusal of -o mac-prefix= that says %q", err, tt.refused)
				}
				return
			}
			if err != nil || o.MACPrefix != tt.want || o.MACPrefixBytes().String() != tt.want {
				t.Errorf("got %q (%s), %v, want %s", o.MACPrefix, o.MACPrefixBytes(), err, tt.want)
			}
		})
	}
	_, err := option.Parse(map[string]string{"parent": "eth0", "ipvlan_mode": "l2", "mac-prefix": "02:42"})
	if !errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), "ipvlan links share their parent's MAC address") {
		t.Errorf("of ipvlan: %v, want a refusal", err)
	}
	if o, err := option.Parse(map[string]string{"parent": "eth0"}); err != nil || o.MACPrefixBytes() != nil {
		t.Errorf("without it: %v, %v", o.MACPrefixBytes(), err)
	}
}
