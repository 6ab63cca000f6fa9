package door

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"time"

	"gvlan/cmd/internal/web"
)

// turnAway tells who was not let in how to get in, and nothing else: not even of which
// host this is. Again is when a password may be tried again.
func (d *Door) turnAway(w http.ResponseWriter, again time.Duration) {
	if again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((again+time.Second-1)/time.Second)))
		d.refuse(w, http.StatusTooManyRequests, "Too many wrong passwords: try again later.")
		return
	}
	ways := "As root on this host type: " + d.Command + ". It prints a link, which lets one browser in, once and for 12 hours."
	if d.Password != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="gvlan", charset="UTF-8"`)
		ways += " Or give the password, with any user name."
	}
	if d.ProxyHeader != "" {
		ways += " Or come by the reverse proxy that lets people in."
	}
	d.refuse(w, http.StatusUnauthorized, ways)
}

// refuse answers with a sentence; the connection is free for others then.
func (d *Door) refuse(w http.ResponseWriter, status int, why string) {
	web.Forbid(w.Header())
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	fmt.Fprintf(w, "<!doctype html>\n<html lang=\"en\">\n<title>gvlan: not shown</title>\n<h1>%s</h1>\n<p>%s</p>\n</html>\n", title, html.EscapeString(why))
}
