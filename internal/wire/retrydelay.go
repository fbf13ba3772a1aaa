package wire

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits of a retry-delay expression; they bound parsing and evaluation.
const (
	maxExpressionBytes = 1 << 10
	maxExpressionDepth = 32
	maxExpressionNodes = 200
)

const expressionGrammar = "milliseconds, from numbers, retried, + - * / %, parentheses and pow(x,y) exp(x) sqrt(x) abs(x) floor(x) ceil(x) round(x) min(x,y) max(x,y)"

// DefaultBackoff is the wait before the n-th retry, from 1, of a message with
// no retry-delay expression: e^(2.5 n) seconds, at most a day.
func DefaultBackoff(n int) time.Duration {
	seconds := min(maxRetryDelay.Seconds(), math.Exp(2.5*float64(max(n, 1))))
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

// RetryDelay is a parsed Upstash-Retry-Delay expression. The zero value is the
// default backoff.
type RetryDelay struct {
	program []instruction // postfix
}

// instruction pushes a value, or replaces its operands on the stack by a result.
type instruction struct {
	arity   int
	retried bool    // arity 0: push the variable, not value
	value   float64 // arity 0
	apply   func(x, y float64) float64
}

// Delay is the wait before the next retry when retried of them were made
// already: 0 before the first. It lies between 0 and a day. Where the
// expression has no value (NaN or infinite), it is DefaultBackoff(retried+1).
func (r RetryDelay) Delay(retried int) time.Duration {
	if len(r.program) == 0 {
		return DefaultBackoff(retried + 1)
	}
	ms := r.evaluate(float64(retried))
	if math.IsNaN(ms) || math.IsInf(ms, 0) {
		return DefaultBackoff(retried + 1)
	}
	ms = min(max(ms, 0), float64(maxRetryDelay.Milliseconds()))
	return time.Duration(ms * float64(time.Millisecond))
}

func (r RetryDelay) evaluate(retried float64) float64 {
	var stack [maxExpressionNodes]float64
	top := -1
	for _, in := range r.program {
		switch in.arity {
		case 0:
			top++
			stack[top] = in.value
			if in.retried {
				stack[top] = retried
			}
		case 1:
			stack[top] = in.apply(stack[top], 0)
		case 2:
			top--
			stack[top] = in.apply(stack[top], stack[top+1])
		}
	}
	return stack[0]
}

// ParseRetryDelay parses an Upstash-Retry-Delay expression: milliseconds, in
// float64 arithmetic over the variable retried. It may have 1 KiB, 200 nodes
// and a nesting of 32. The error is an *Error without a Field that names the
// position, from 1, and the grammar.
func ParseRetryDelay(s string) (RetryDelay, error) {
	if len(s) > maxExpressionBytes {
		return RetryDelay{}, errorf("", "expected an expression of at most %d bytes, got %d", maxExpressionBytes, len(s))
	}
	p := expressionParser{src: s}
	if err := p.sum(); err != nil {
		return RetryDelay{}, err
	}
	if p.pos < len(p.src) {
		return RetryDelay{}, p.expected("an operator or the end")
	}
	return RetryDelay{program: p.program}, nil
}

// expressionParser is a recursive descent that emits postfix as it goes.
type expressionParser struct {
	src     string
	pos     int
	depth   int
	program []instruction
}

func (p *expressionParser) sum() error {
	return p.binary("+-", func() error { return p.binary("*/%", p.unary) })
}

// binary parses operands joined by any of the operators, left to right.
func (p *expressionParser) binary(operators string, operand func() error) error {
	if err := operand(); err != nil {
		return err
	}
	for {
		op := p.peek()
		if op == 0 || strings.IndexByte(operators, op) < 0 {
			return nil
		}
		p.pos++
		if err := operand(); err != nil {
			return err
		}
		if err := p.emit(instruction{arity: 2, apply: operations[op]}); err != nil {
			return err
		}
	}
}

func (p *expressionParser) unary() error {
	if p.depth++; p.depth > maxExpressionDepth {
		return errorf("", "expected an expression nested at most %d deep, got more at position %d", maxExpressionDepth, p.pos+1)
	}
	defer func() { p.depth-- }()
	switch p.peek() {
	case '+':
		p.pos++
		return p.unary()
	case '-':
		p.pos++
		if err := p.unary(); err != nil {
			return err
		}
		return p.emit(instruction{arity: 1, apply: func(x, _ float64) float64 { return -x }})
	}
	return p.primary()
}

func (p *expressionParser) primary() error {
	switch b := p.peek(); {
	case isDigit(b):
		return p.number()
	case b == '(':
		p.pos++
		if err := p.sum(); err != nil {
			return err
		}
		return p.take(')')
	case isLetter(b):
		return p.identifier()
	}
	return p.expected("a number, retried, a function or \"(\"")
}

func (p *expressionParser) number() error {
	start := p.pos
	p.digits()
	if p.current() == '.' {
		if p.pos++; !isDigit(p.current()) {
			return p.expected("a digit")
		}
		p.digits()
	}
	if p.current()|0x20 == 'e' {
		if p.pos++; p.current() == '+' || p.current() == '-' {
			p.pos++
		}
		if !isDigit(p.current()) {
			return p.expected("a digit")
		}
		p.digits()
	}
	value, err := strconv.ParseFloat(p.src[start:p.pos], 64)
	if err != nil {
		p.pos = start
		return p.expected("a number that a float64 can hold")
	}
	return p.emit(instruction{value: value})
}

func (p *expressionParser) digits() {
	for isDigit(p.current()) {
		p.pos++
	}
}

func (p *expressionParser) identifier() error {
	start := p.pos
	for isLetter(p.current()) || isDigit(p.current()) || p.current() == '_' {
		p.pos++
	}
	name := p.src[start:p.pos]
	if name == "retried" {
		return p.emit(instruction{retried: true})
	}
	f, ok := functions[name]
	if !ok {
		p.pos = start
		return p.expected("retried or a function")
	}
	return p.call(f)
}

func (p *expressionParser) call(f instruction) error {
	if err := p.take('('); err != nil {
		return err
	}
	for i := range f.arity {
		if i > 0 {
			if err := p.take(','); err != nil {
				return err
			}
		}
		if err := p.sum(); err != nil {
			return err
		}
	}
	if err := p.take(')'); err != nil {
		return err
	}
	return p.emit(f)
}

func (p *expressionParser) take(b byte) error {
	if p.peek() != b {
		return p.expected(strconv.Quote(string(b)))
	}
	p.pos++
	return nil
}

func (p *expressionParser) emit(in instruction) error {
	if len(p.program) == maxExpressionNodes {
		return errorf("", "expected an expression of at most %d numbers, names and operators, got more at position %d", maxExpressionNodes, p.pos+1)
	}
	p.program = append(p.program, in)
	return nil
}

// peek is the next byte after spaces, 0 at the end.
func (p *expressionParser) peek() byte {
	for p.current() == ' ' || p.current() == '\t' {
		p.pos++
	}
	return p.current()
}

func (p *expressionParser) current() byte {
	if p.pos >= len(p.src) {
		return 0
	}
	return p.src[p.pos]
}

func (p *expressionParser) expected(what string) error {
	got := "the end"
	if p.pos < len(p.src) {
		got = quote(p.src[p.pos:])
	}
	return errorf("", "expected %s at position %d, got %s; the expression is in %s", what, p.pos+1, got, expressionGrammar)
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

var operations = map[byte]func(x, y float64) float64{
	'+': func(x, y float64) float64 { return x + y },
	'-': func(x, y float64) float64 { return x - y },
	'*': func(x, y float64) float64 { return x * y },
	'/': func(x, y float64) float64 { return x / y },
	'%': math.Mod,
}

var functions = map[string]instruction{
	"pow":   {arity: 2, apply: math.Pow},
	"min":   {arity: 2, apply: math.Min},
	"max":   {arity: 2, apply: math.Max},
	"exp":   {arity: 1, apply: one(math.Exp)},
	"sqrt":  {arity: 1, apply: one(math.Sqrt)},
	"abs":   {arity: 1, apply: one(math.Abs)},
	"floor": {arity: 1, apply: one(math.Floor)},
	"ceil":  {arity: 1, apply: one(math.Ceil)},
	"round": {arity: 1, apply: one(math.Round)},
}

func one(f func(float64) float64) func(x, _ float64) float64 {
	return func(x, _ float64) float64 { return f(x) }
}
