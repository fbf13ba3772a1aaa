package wire

import (
	"net/http"
	"strconv"
	"strings"
)

// ScheduleHeader is what a schedule keeps of the request that made it, for
// ParseConfig to read each time: the settings and what is forwarded, not who
// asked, and not when. With all, it keeps what would be forwarded if all headers
// were, as the settings of a URL group may say later.
func ScheduleHeader(h http.Header, all bool) http.Header {
	p := configParser{h: h}
	if values := h[HeaderForwardAll]; len(values) > 0 && !all {
		all, _ = strconv.ParseBool(strings.TrimSpace(values[0]))
	}
	kept := make(http.Header, len(h))
	for name, values := range h {
		if len(values) > 0 && p.scheduled(name, all) {
			kept[name] = values
		}
	}
	return kept
}

func (p *configParser) scheduled(name string, all bool) bool {
	switch {
	case name == contentType || name == HeaderHop:
		return true
	case dropped(name) || name == HeaderCron || strings.HasPrefix(name, PrefixTelemetry):
		return false
	case strings.HasPrefix(name, PrefixForward):
		return !dropped(name[len(PrefixForward):]) || name[len(PrefixForward):] == HeaderHop
	case strings.HasPrefix(name, PrefixUpstash):
		return true
	}
	return all && name != "Authorization" && !p.forConnection(name)
}
