package remotewrite

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/dskit/backoff"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// sender brings samples to one receiver.
type sender struct {
	q       *Queue
	name    string
	cfg     *config.RemoteWriteConfig
	client  remote.WriteClient
	file    string // where its place is kept
	cursor  *cursor
	news    chan struct{} // something was appended; of capacity 1
	failing atomic.Bool

	mu    sync.Mutex
	acked place

	*receiverMetrics
	pending prometheus.Gauge
}

// statusKey is where in a context the status of an answer is put.
type statusKey struct{}

// watch lets the sender see the status of answers, which the client only has in the text of its error.
type watch struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w watch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if status, ok := r.Context().Value(statusKey{}).(*int); ok && resp != nil {
		*status = resp.StatusCode
	}
	return resp, err
}

func newSender(q *Queue, cfg *config.RemoteWriteConfig) (*sender, error) {
	if cfg.Name == "" || filepath.Base(cfg.Name) != cfg.Name {
		return nil, fmt.Errorf("remotewrite: %q can't be the name of a receiver", cfg.Name)
	}
	if cfg.URL == nil {
		return nil, fmt.Errorf("remotewrite: receiver %s has no url", cfg.Name)
	}
	if m := cfg.ProtobufMessage; m != "" && m != config.DefaultRemoteWriteConfig.ProtobufMessage {
		return nil, fmt.Errorf("remotewrite: receiver %s: protobuf_message %s is not spoken here; leave it out", cfg.Name, m)
	}
	client, err := remote.NewWriteClient(cfg.Name, &remote.ClientConfig{
		URL:              cfg.URL,
		Timeout:          cfg.RemoteTimeout,
		HTTPClientConfig: cfg.HTTPClientConfig,
		SigV4Config:      cfg.SigV4Config,
		AzureADConfig:    cfg.AzureADConfig,
		GoogleIAMConfig:  cfg.GoogleIAMConfig,
		Headers:          cfg.Headers,
		RetryOnRateLimit: true,
		RoundRobinDNS:    cfg.RoundRobinDNS,
	})
	if err != nil {
		return nil, fmt.Errorf("remotewrite: receiver %s: %w", cfg.Name, err)
	}
	if c, ok := client.(*remote.Client); ok {
		c.Client.Transport = watch{c.Client.Transport}
	}
	s := &sender{
		q: q, name: cfg.Name, cfg: cfg, client: client, news: make(chan struct{}, 1),
		file: filepath.Join(q.cfg.Dir, "sent-"+cfg.Name+".json"),
	}
	s.receiverMetrics, s.pending = q.metrics.of(cfg.Name, cfg.URL.String())
	return s, nil
}

// start finds the sender's place in the log. One that is new begins with the next sample.
func (s *sender) start(dir string, first, last int) {
	p, ok, err := loadPlace(s.file)
	switch {
	case err != nil:
		s.q.log.Error("remote write: how far the receiver is can't be read; it gets again what is in the log", "receiver", s.name, "err", err)
		p = place{Segment: first}
	case !ok:
		p = place{Segment: last}
	case p.Segment < first:
		p = place{Segment: first}
	case p.Segment > last:
		p = place{Segment: last}
	}
	s.acked = p
	s.cursor = &cursor{dir: dir, at: p, metrics: wlog.NewLiveReaderMetrics(nil), log: s.q.log}
	s.pending.Set(float64(s.waiting(last)))
	if err := p.save(s.file); err != nil {
		s.q.log.Warn("remote write: how far the receiver is can't be kept", "receiver", s.name, "err", err)
	}
	s.wake()
}

// waiting counts the samples behind the sender's place.
func (s *sender) waiting(last int) int {
	n, c := 0, *s.cursor
	c.log = slog.New(slog.DiscardHandler) // what is wrong is said when it is sent
	defer c.close()
	for {
		rec, ok, err := c.next(last)
		var req prompb.WriteRequest
		if err != nil || !ok || req.Unmarshal(rec) != nil {
			return n
		}
		n += len(req.Timeseries)
	}
}

func (s *sender) at() place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

func (s *sender) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *sender) close() {
	s.cursor.close()
	if c, ok := s.client.(*remote.Client); ok {
		c.Client.CloseIdleConnections()
	}
}

// run sends until ctx is done and, if the receiver works, what is left then for a moment more.
func (s *sender) run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	release := context.AfterFunc(ctx, func() {
		if s.failing.Load() {
			stop()
			return
		}
		timer := time.AfterFunc(s.q.cfg.Drain, stop)
		context.AfterFunc(sending, func() { timer.Stop() })
	})
	defer release()
	for {
		batch, read, err := s.batch()
		if err != nil {
			s.q.log.Error("remote write: the log can't be read", "receiver", s.name, "err", err)
		}
		if len(batch) > 0 && !s.deliver(sending, batch) {
			return
		}
		s.acknowledge(read)
		if read > 0 {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		var again <-chan time.Time
		if err != nil {
			again = time.After(10 * time.Second)
		}
		select {
		case <-s.news:
		case <-ctx.Done():
		case <-again:
		}
	}
}

// acknowledge moves the sender's place behind what it has read.
func (s *sender) acknowledge(read int) {
	before := s.at()
	if before == s.cursor.at {
		return
	}
	s.pending.Sub(float64(read))
	s.mu.Lock()
	s.acked = s.cursor.at
	s.mu.Unlock()
	if err := s.cursor.at.save(s.file); err != nil {
		s.q.log.Warn("remote write: how far the receiver is can't be kept", "receiver", s.name, "err", err)
	}
	if before.Segment != s.cursor.at.Segment {
		s.q.clean()
	}
}

// batch reads records until there is enough for a request, or no more. It returns what to send of them, and how
// many samples they have.
func (s *sender) batch() (all []prompb.TimeSeries, read int, err error) {
	last := s.q.written()
	enough := max(s.cfg.QueueConfig.MaxSamplesPerSend, 1)
	for len(all) < enough {
		rec, ok, err := s.cursor.next(last)
		if err != nil || !ok {
			return all, read, err
		}
		var req prompb.WriteRequest
		if err := req.Unmarshal(rec); err != nil {
			return all, read, fmt.Errorf("a record in file %d: %w", s.cursor.at.Segment, err)
		}
		read += len(req.Timeseries)
		all = s.prepare(all, req.Timeseries)
	}
	return all, read, nil
}

// prepare appends what the receiver shall get of a record.
func (s *sender) prepare(all, record []prompb.TimeSeries) []prompb.TimeSeries {
	oldest := time.Now().Add(-s.q.cfg.MaxAge).UnixMilli()
	var scratch labels.ScratchBuilder
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, series := range record {
		if len(series.Samples) == 0 || series.Samples[0].Timestamp < oldest {
			s.dropped.WithLabelValues("too_old").Inc()
			continue
		}
		b.Reset(series.ToLabels(&scratch, nil))
		s.q.cfg.ExternalLabels.Range(func(l labels.Label) {
			if b.Get(l.Name) == "" {
				b.Set(l.Name, l.Value)
			}
		})
		if !relabel.ProcessBuilder(b, s.cfg.WriteRelabelConfigs...) {
			s.dropped.WithLabelValues("dropped_series").Inc()
			continue
		}
		series.Labels = prompb.FromLabels(b.Labels(), nil)
		all = append(all, series)
	}
	return all
}

// deliver sends series until the receiver has answered for all; it returns false if ctx ended before. What the
// receiver refuses for what it is, is halved until only that is left, and dropped: one bad sample must not
// take others with it.
func (s *sender) deliver(ctx context.Context, all []prompb.TimeSeries) bool {
	req := prompb.WriteRequest{Timeseries: all}
	raw, err := req.Marshal()
	if err != nil {
		s.q.log.Error("remote write: samples can't be encoded", "receiver", s.name, "err", err)
		s.failed.Add(float64(len(all)))
		return true
	}
	body := snappy.Encode(nil, raw)
	retry := backoff.New(ctx, backoff.Config{
		MinBackoff: max(time.Duration(s.cfg.QueueConfig.MinBackoff), 30*time.Millisecond),
		MaxBackoff: max(time.Duration(s.cfg.QueueConfig.MaxBackoff), 30*time.Millisecond),
	})
	for retry.Ongoing() {
		status := 0
		begun := time.Now()
		_, err := s.client.Store(context.WithValue(ctx, statusKey{}, &status), body, retry.NumRetries())
		s.duration.Observe(time.Since(begun).Seconds())
		switch {
		case err == nil:
			if s.failing.Swap(false) {
				s.q.log.Info("remote write: the receiver takes samples again", "receiver", s.name)
			}
			s.sent.Add(float64(len(all)))
			s.bytes.Add(float64(len(body)))
			s.highestSent.Set(float64(all[len(all)-1].Samples[0].Timestamp) / 1000)
			return true
		case !refused(status):
			if !s.failing.Swap(true) {
				s.q.log.Warn("remote write: samples wait until the receiver takes them", "receiver", s.name, "err", err)
			}
			s.retried.Add(float64(len(all)))
			retry.Wait()
		case len(all) == 1:
			s.q.log.Warn("remote write: the receiver refuses a sample", "receiver", s.name, "err", err)
			s.failed.Inc()
			return true
		default:
			half := len(all) / 2
			return s.deliver(ctx, all[:half]) && s.deliver(ctx, all[half:])
		}
	}
	return false
}

// refused tells that an answer speaks of the samples and not of the receiver or of how it is called, which can
// be put right while the samples wait.
func refused(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
