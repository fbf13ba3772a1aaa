package engine

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Key names a message. Seq is the primary key: Unix milliseconds in the upper
// 43 bits, a node and a counter below, so that rows lie in the order they were
// made and need no index for it. Rnd makes the public id unguessable.
type Key struct{ Seq, Rnd int64 }

// Millis is the time in a sequence number, in Unix milliseconds.
func Millis(seq int64) int64 { return seq >> seqTimeShift }

// FirstSeq is the least sequence number of a time, in Unix ms; of one that no
// sequence number has, the greatest there is.
func FirstSeq(ms int64) int64 {
	if ms > Millis(maxSeq) {
		return maxSeq
	}
	return ms << seqTimeShift
}

const (
	seqTimeShift = 20 // 43 bits of milliseconds last until 2248, 20 bits count a million a millisecond
	messageIDLen = 22 // base62 digits of 128 bits
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// String is the public id: "msg_" and 22 base62 digits. Ids sort by age.
func (k Key) String() string {
	var buf [4 + messageIDLen]byte
	copy(buf[:], "msg_")
	hi, lo := uint64(k.Seq), uint64(k.Rnd)
	for i := len(buf) - 1; i >= 4; i-- {
		var rem uint64
		hi, lo, rem = divmod128(hi, lo, 62)
		buf[i] = base62[rem]
	}
	return string(buf[:])
}

// divmod128 divides hi:lo by a small d, 32 bits at a time.
func divmod128(hi, lo, d uint64) (qhi, qlo, rem uint64) {
	qhi, rem = hi/d, hi%d
	mid := rem<<32 | lo>>32
	q1, rem1 := mid/d, mid%d
	low := rem1<<32 | lo&0xffffffff
	q0, rem0 := low/d, low%d
	return qhi, q1<<32 | q0, rem0
}

// ParseMessageID is the inverse of Key.String. Anything else is not an id of
// ours and therefore of no message.
func ParseMessageID(id string) (Key, bool) {
	digits, ok := strings.CutPrefix(id, "msg_")
	if !ok || len(digits) != messageIDLen {
		return Key{}, false
	}
	n, sixtyTwo := new(big.Int), big.NewInt(62)
	for _, c := range []byte(digits) {
		d := strings.IndexByte(base62, c)
		if d < 0 {
			return Key{}, false
		}
		n.Mul(n, sixtyTwo).Add(n, big.NewInt(int64(d)))
	}
	if n.BitLen() > 127 {
		return Key{}, false
	}
	var b [16]byte
	n.FillBytes(b[:])
	return Key{Seq: int64(binary.BigEndian.Uint64(b[:8])), Rnd: int64(binary.BigEndian.Uint64(b[8:]))}, true
}

// DLQID is the public id of a DLQ entry: "<unix ms>-<n>".
func DLQID(seq int64) string {
	return fmt.Sprintf("%d-%d", Millis(seq), seq&(1<<seqTimeShift-1))
}

// ParseDLQID is the inverse of DLQID. An id is written in one way only.
func ParseDLQID(id string) (seq int64, ok bool) {
	ms, n, ok := strings.Cut(id, "-")
	if !ok {
		return 0, false
	}
	a, err1 := strconv.ParseInt(ms, 10, 64)
	b, err2 := strconv.ParseInt(n, 10, 64)
	if err1 != nil || err2 != nil || a < 0 || a >= 1<<(63-seqTimeShift) || b < 0 || b >= 1<<seqTimeShift {
		return 0, false
	}
	seq = a<<seqTimeShift | b
	return seq, DLQID(seq) == id
}

// sequence makes keys that only ever grow, whatever the clock does.
type sequence struct {
	mu   sync.Mutex
	last int64
}

func (s *sequence) next(now int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, now<<seqTimeShift)
	return s.last
}

// startAfter makes every later key greater than seq.
func (s *sequence) startAfter(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, seq)
}

func randomInt63() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the program instead
	return b
}

// randomID is n characters of [0-9A-Za-z], about 5.95 bits each.
func randomID(n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		rand.Read(buf[:])
		for _, b := range buf {
			// The 248 lowest values are a whole multiple of 62: no digit is likelier.
			if b < 248 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return string(out)
}

// NewSigningKey makes a key of the form receivers know: "sig_" and 28 characters.
func NewSigningKey() string { return "sig_" + randomID(28) }

// unixMillis is t as the API and the store write it.
func unixMillis(t time.Time) int64 { return t.UnixMilli() }
