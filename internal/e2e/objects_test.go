package e2e

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// objects is as much of an S3 server as one bucket needs, for tests of what happens while it is away; see -e2e.s3 for a
// real one. It believes everybody.
type objects struct {
	mu  sync.Mutex
	all map[string]object
}

type object struct {
	body []byte
	at   time.Time
}

// ServeHTTP implements http.Handler.
func (o *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/logs"), "/")
	var body []byte
	if r.Method == http.MethodPut {
		var err error
		if body, err = payload(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	found, ok := o.all[name]
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Has("list-type"):
		o.list(w, r.URL.Query().Get("prefix"), r.URL.Query().Get("delimiter"))
	case r.Method == http.MethodPut:
		o.all[name] = object{body, time.Now().UTC()}
		w.Header().Set("ETag", `"x"`)
	case r.Method == http.MethodDelete:
		delete(o.all, name)
		w.WriteHeader(http.StatusNoContent)
	case !ok && name != "":
		w.WriteHeader(http.StatusNotFound)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
		}
	default:
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", found.at, bytes.NewReader(found.body))
	}
}

// list answers with the objects and, with a delimiter, the folders below a prefix, all at once.
func (o *objects) list(w http.ResponseWriter, prefix, delimiter string) {
	type entry struct {
		Key          string
		LastModified time.Time
		Size         int
		ETag         string
	}
	type folder struct{ Prefix string }
	answer := struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		Contents       []entry
		CommonPrefixes []folder
	}{}
	for _, name := range slices.Sorted(maps.Keys(o.all)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if n := strings.Index(rest, delimiter); delimiter != "" && n >= 0 {
			f := folder{prefix + rest[:n+len(delimiter)]}
			if !slices.Contains(answer.CommonPrefixes, f) {
				answer.CommonPrefixes = append(answer.CommonPrefixes, f)
			}
			continue
		}
		answer.Contents = append(answer.Contents, entry{name, o.all[name].at, len(o.all[name].body), `"x"`})
	}
	_ = xml.NewEncoder(w).Encode(answer) // the client is gone if this fails
}

// payload reads a body, which may come in pieces that are signed, each after a line with its size.
func payload(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	var all []byte
	for lines := bufio.NewReader(r.Body); ; {
		head, err := lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(head), ";")
		n, err := strconv.ParseInt(size, 16, 32)
		if err != nil || n == 0 {
			return all, err // checksums of the whole may follow
		}
		piece := make([]byte, n+2) // with the line's end
		if _, err := io.ReadFull(lines, piece); err != nil {
			return nil, err
		}
		all = append(all, piece[:n]...)
	}
}
