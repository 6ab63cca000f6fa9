package parentfile

import (
	"fmt"
	"strconv"
	"strings"
)

// IEEE 802.1Q: ids 0 (priority tag) and 4095 are reserved.
const (
	minVLAN = 1
	maxVLAN = 4094
)

// splitVLANs cuts every trailing ".vid" off name, outermost tag first:
// "eth0.100.200" gives "eth0" and [100 200]. The error wraps ErrVLANRange.
func splitVLANs(name string) (base string, vids []int, err error) {
	base = name
	for {
		rest, vid, ok, err := cutVLAN(base)
		if err != nil {
			return "", nil, err
		}
		if !ok {
			return base, vids, nil
		}
		base, vids = rest, append([]int{vid}, vids...)
	}
}

// cutVLAN cuts the innermost ".vid" off name; ok is false when there is none.
func cutVLAN(name string) (rest string, vid int, ok bool, err error) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || !allDigits(name[dot+1:]) {
		return name, 0, false, nil
	}
	vid, err = strconv.Atoi(name[dot+1:])
	if err != nil || vid < minVLAN || vid > maxVLAN {
		return "", 0, false, &refusal{ErrVLANRange, fmt.Sprintf("VLAN id %s is not in %d-%d", name[dot+1:], minVLAN, maxVLAN)}
	}
	return name[:dot], vid, true, nil
}

func allDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}
