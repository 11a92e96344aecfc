package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Differences between times are coded in groups of timeGroup as Rice codes, which come within a
// few hundredths of a bit of what is possible for the distances of random events. Regular events
// are coded by the change of their distance, and bursts of equal times by a bit each. Times of
// millisecond sources are divided by their unit.
const (
	timeGroup  = 128
	riceEscape = 32

	timeDistances = 0
	timeChanges   = 1
	timeBursts    = 2
	timeUnitShift = 2 // of the unit in the byte that it shares with the mode
)

func timeUnit(i int) uint64 {
	return [4]uint64{1, 1e3, 1e6, 1e9}[i&3]
}

var errTimes = errors.New("bad time code")

func zigzag(v uint64) uint64   { return v<<1 ^ uint64(int64(v)>>63) }
func unzigzag(v uint64) uint64 { return v>>1 ^ -(v & 1) }

// commonUnit returns the index of the largest unit that divides all values.
func commonUnit(vals []uint64) int {
	u := 3
	for _, v := range vals {
		for u > 0 && v%timeUnit(u) != 0 {
			u--
		}
		if u == 0 {
			break
		}
	}
	return u
}

// appendTimes appends differences in groups. It overwrites deltas.
func appendTimes(dst []byte, deltas []uint64) []byte {
	for len(deltas) > 0 {
		n := min(timeGroup, len(deltas))
		dst = appendTimeGroup(dst, deltas[:n])
		deltas = deltas[n:]
	}
	return dst
}

func appendTimeGroup(dst []byte, g []uint64) []byte {
	var changes, bursts [timeGroup]uint64
	unit := commonUnit(g)
	if unit > 0 {
		for i := range g {
			g[i] /= timeUnit(unit)
		}
	}
	prev, n := uint64(0), 0
	for i, v := range g {
		changes[i] = zigzag(v - prev)
		prev = v
		if v != 0 {
			bursts[n] = v - 1
			n++
		}
	}
	mode, vals := timeDistances, g
	k, cost := riceParam(g)
	if k2, cost2 := riceParam(changes[:len(g)]); cost2 < cost {
		mode, k, cost, vals = timeChanges, k2, cost2, changes[:len(g)]
	}
	if k2, cost2 := riceParam(bursts[:n]); cost2+uint64(len(g)) < cost {
		mode, k, vals = timeBursts, k2, bursts[:n]
	}
	dst = append(dst, byte(k), byte(mode|unit<<timeUnitShift))
	if mode == timeBursts {
		at := len(dst)
		dst = append(dst, make([]byte, (len(g)+7)/8)...)
		for i, v := range g {
			if v != 0 {
				dst[at+i/8] |= 1 << (i % 8)
			}
		}
	}
	return appendRice(dst, vals, k)
}

// riceParam returns the best parameter and the bits that it takes.
func riceParam(vals []uint64) (k int, cost uint64) {
	if len(vals) == 0 {
		return 0, 0
	}
	var sum uint64
	for _, v := range vals {
		sum += min(v, 1<<56)
	}
	// The mean says what is best but for a few large values, which make it too large.
	guess := max(bits.Len64(sum/uint64(len(vals)))-1, 0)
	cost = ^uint64(0)
	worse := 0
	for c := guess + 1; c >= max(guess-8, 0) && worse < 2; c-- {
		if n := riceCost(vals, c); n <= cost {
			k, cost, worse = c, n, 0
		} else {
			worse++ // mostly it gets worse still, but escapes may stand in the way
		}
	}
	return k, cost
}

func riceCost(vals []uint64, k int) uint64 {
	var n uint64
	for _, v := range vals {
		if q := v >> k; q < riceEscape {
			n += q + 1 + uint64(k)
		} else {
			n += riceEscape + 64
		}
	}
	return n
}

func appendRice(dst []byte, vals []uint64, k int) []byte {
	var acc uint64 // fewer than 8 bits wait here between codes
	var n int
	put := func(v uint64, width int) { // width <= 56
		acc |= v << n
		n += width
		for n >= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
			n -= 8
		}
	}
	put64 := func(v uint64, width int) {
		if width > 32 {
			put(v&(1<<32-1), 32)
			v >>= 32
			width -= 32
		}
		put(v, width)
	}
	for _, v := range vals {
		q := v >> k
		if q >= riceEscape {
			put(0, riceEscape)
			put64(v, 64)
			continue
		}
		put(1<<q, int(q)+1)
		put64(v&(1<<k-1), k)
	}
	if n > 0 {
		dst = append(dst, byte(acc))
	}
	return dst
}

// decodeTimes reads len(dst) differences; they must be all that b holds.
func decodeTimes(dst []uint64, b []byte) error {
	rest, err := decodeTimeGroups(dst, b)
	if err == nil && len(rest) > 0 {
		err = errRest
	}
	return err
}

// decodeTimeGroups reads len(dst) differences and returns what is behind them.
func decodeTimeGroups(dst []uint64, b []byte) (rest []byte, err error) {
	for len(dst) > 0 {
		n := min(timeGroup, len(dst))
		if len(b) < 2 {
			return nil, errShort
		}
		k, mode, unit := int(b[0]), b[1]&(1<<timeUnitShift-1), b[1]>>timeUnitShift
		if k > 63 || mode > timeBursts || unit > 3 {
			return nil, fmt.Errorf("%w: group header %d, %d", errTimes, k, b[1])
		}
		b = b[2:]
		g := dst[:n]
		var used int
		switch mode {
		case timeBursts:
			used, err = decodeBursts(g, b, k)
		default:
			used, err = decodeRice(g, b, k)
		}
		if err != nil {
			return nil, err
		}
		b = b[used:]
		if mode == timeChanges {
			prev := uint64(0)
			for i, v := range g {
				prev += unzigzag(v)
				g[i] = prev
			}
		}
		if u := timeUnit(int(unit)); u != 1 {
			for i := range g {
				g[i] *= u
			}
		}
		dst = dst[n:]
	}
	return b, nil
}

// decodeBursts reads a group in which most differences are 0.
func decodeBursts(dst []uint64, b []byte, k int) (int, error) {
	n := (len(dst) + 7) / 8
	if len(b) < n {
		return 0, errShort
	}
	var vals [timeGroup]uint64
	set := 0
	for i := range dst {
		set += int(b[i/8] >> (i % 8) & 1)
	}
	used, err := decodeRice(vals[:set], b[n:], k)
	if err != nil {
		return 0, err
	}
	at := 0
	for i := range dst {
		dst[i] = 0
		if b[i/8]>>(i%8)&1 != 0 {
			dst[i] = vals[at] + 1
			at++
		}
	}
	return n + used, nil
}

// decodeRice reads len(dst) codes and returns how many bytes they took.
func decodeRice(dst []uint64, b []byte, k int) (int, error) {
	done, pos := decodeShort(dst, b, k)
	pos, err := decodeAny(dst[done:], b, k, pos)
	return (pos + 7) / 8, err
}

// decodeShort reads codes for as long as each lies in the 57 bits that one load surely gives, and returns
// how many there were and where the next one begins, in bits. Nearly all codes do.
func decodeShort(dst []uint64, b []byte, k int) (done, pos int) {
	shift := uint(k) & 63
	mask := uint64(1)<<shift - 1
	longest := min(57-1-k, riceEscape-1) // value of the unary part
	for i := range dst {
		at := pos >> 3
		if at+8 > len(b) {
			return i, pos
		}
		w := binary.LittleEndian.Uint64(b[at:]) >> (uint(pos) & 7)
		q := bits.TrailingZeros64(w)
		if q > longest {
			return i, pos
		}
		dst[i] = uint64(q)<<shift | w>>1>>(uint(q)&63)&mask
		pos += q + 1 + k
	}
	return len(dst), pos
}

// decodeAny reads len(dst) codes of any length, the first at the bit pos, and returns where the last ends.
func decodeAny(dst []uint64, b []byte, k, pos int) (int, error) {
	end := 8 * len(b)
	mask := uint64(1)<<k - 1
	// peek returns 57 bits or more from pos on; beyond the end they are zero.
	peek := func(pos int) uint64 {
		at := pos >> 3
		if at+8 <= len(b) {
			return binary.LittleEndian.Uint64(b[at:]) >> (pos & 7)
		}
		var tail [8]byte
		if at < len(b) {
			copy(tail[:], b[at:])
		}
		return binary.LittleEndian.Uint64(tail[:]) >> (pos & 7)
	}
	for i := range dst {
		w := peek(pos)
		q := bits.TrailingZeros64(w)
		if q >= riceEscape {
			lo := peek(pos+riceEscape) & (1<<32 - 1)
			hi := peek(pos+riceEscape+32) & (1<<32 - 1)
			dst[i] = hi<<32 | lo
			pos += riceEscape + 64
		} else {
			var low uint64
			switch {
			case q+1+k <= 57:
				low = w >> (q + 1) & mask
			case k <= 57:
				low = peek(pos+q+1) & mask
			default:
				low = (peek(pos+q+1)&(1<<32-1) | peek(pos+q+33)<<32) & mask
			}
			dst[i] = uint64(q)<<k | low
			pos += q + 1 + k
		}
		if pos > end {
			return pos, errShort
		}
	}
	return pos, nil
}
