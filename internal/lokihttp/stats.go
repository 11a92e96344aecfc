package lokihttp

import (
	"example.com/loki/logql"
)

// stats writes what a query has cost, in the blocks and under the names that Loki's clients read. What
// has no counterpart in this engine is 0.
func (e *encoder) stats(s *logql.Stats) {
	seconds := s.ExecTime.Seconds()
	perSecond := func(n int64) int64 {
		if seconds <= 0 {
			return 0
		}
		return int64(float64(n) / seconds)
	}
	o := object{e: e}

	o.open("summary")
	o.int("bytesProcessedPerSecond", perSecond(s.LineBytes+s.MetadataBytes))
	o.int("linesProcessedPerSecond", perSecond(s.Rows))
	o.int("totalBytesProcessed", s.LineBytes+s.MetadataBytes)
	o.int("totalLinesProcessed", s.Rows)
	o.float("execTime", seconds)
	o.float("queueTime", s.QueueTime.Seconds())
	o.int("subqueries", 0)
	o.int("totalEntriesReturned", s.Returned)
	o.int("splits", int64(s.Tasks))
	o.int("shards", 0)
	o.int("totalPostFilterLines", s.RowsKept)
	o.int("totalStructuredMetadataBytesProcessed", s.MetadataBytes)
	o.close()

	o.open("querier")
	o.store(storeStats{
		pages: s.PagesTotal, read: s.PagesRead,
		lines: s.Rows - s.HeadRows, bytes: s.LineBytes - s.HeadBytes, metadata: s.MetadataBytes,
		compressed: s.ReadBytes, kept: s.RowsKept,
	})
	o.close()

	o.open("ingester")
	reached := int64(0)
	if s.HeadRows > 0 {
		reached = 1
	}
	o.int("totalReached", reached)
	o.int("totalChunksMatched", 0)
	o.int("totalBatches", 0)
	o.int("totalLinesSent", s.HeadRows)
	o.store(storeStats{headLines: s.HeadRows, headBytes: s.HeadBytes})
	o.close()

	o.open("cache")
	for _, name := range [...]string{"chunk", "index", "result", "statsResult", "volumeResult", "seriesResult", "labelResult", "instantMetricResult"} {
		o.open(name)
		for _, field := range [...]string{"entriesFound", "entriesRequested", "entriesStored", "bytesReceived", "bytesSent", "requests", "downloadTime", "queryLengthServed"} {
			o.int(field, 0)
		}
		o.close()
	}
	o.close()

	o.open("index")
	o.int("totalChunks", s.PagesTotal)
	o.int("postFilterChunks", s.PagesRead)
	o.int("shardsDuration", 0)
	o.close()

	o.end()
}

// storeStats is what was read in one place.
type storeStats struct {
	pages, read            int64
	headLines, headBytes   int64
	lines, bytes, metadata int64
	compressed, kept       int64
}

func (o *object) store(s storeStats) {
	o.open("store")
	o.int("totalChunksRef", s.pages)
	o.int("totalChunksDownloaded", s.read)
	o.int("chunksDownloadTime", 0)
	o.bool("queryReferencedStructuredMetadata", s.metadata > 0)
	o.open("chunk")
	o.int("headChunkBytes", s.headBytes)
	o.int("headChunkLines", s.headLines)
	o.int("decompressedBytes", s.bytes)
	o.int("decompressedLines", s.lines)
	o.int("compressedBytes", s.compressed)
	o.int("totalDuplicates", 0)
	o.int("postFilterLines", s.kept)
	o.int("headChunkStructuredMetadataBytes", 0)
	o.int("decompressedStructuredMetadataBytes", s.metadata)
	o.close()
	o.int("chunkRefsFetchTime", 0)
	o.int("congestionControlLatency", 0)
	o.int("pipelineWrapperFilteredLines", 0)
	o.close()
}

// object writes nested objects. Its zero value with an encoder is about to write the outermost one.
type object struct {
	e     *encoder
	begun bool // the outermost brace is written
	comma bool // the next field is not the first of its object
}

func (o *object) key(name string) {
	if !o.begun {
		o.e.byte('{')
		o.begun = true
	}
	if o.comma {
		o.e.byte(',')
	}
	o.comma = true
	o.e.byte('"')
	o.e.raw(name)
	o.e.raw(`":`)
}

func (o *object) open(name string) {
	o.key(name)
	o.e.byte('{')
	o.comma = false
}

func (o *object) close() {
	o.e.byte('}')
	o.comma = true
}

func (o *object) end() { o.e.byte('}') }

func (o *object) int(name string, n int64) {
	o.key(name)
	o.e.int(n)
}

func (o *object) uint(name string, n uint64) {
	o.key(name)
	o.e.uint(n)
}

func (o *object) float(name string, f float64) {
	o.key(name)
	o.e.float(f)
}

func (o *object) bool(name string, b bool) {
	o.key(name)
	if b {
		o.e.raw("true")
	} else {
		o.e.raw("false")
	}
}

func (o *object) string(name, value string) {
	o.key(name)
	o.e.string(value)
}

func (o *object) list(name string, values []string) {
	o.key(name)
	o.e.strings(values)
}
